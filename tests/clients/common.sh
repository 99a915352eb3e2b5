# What the scripts share that drive a gateway; to be sourced, with `work` set to a folder for what they make.

mkdir -p "$work"

# The gateway to drive: the one that is named, or else the example, built now.
gateway=${1:-}
if [ -z "$gateway" ]; then
    cargo build --example gateway
    gateway=${CARGO_TARGET_DIR:-target}/debug/examples/gateway
fi

python=$work/venv/bin/python
[ -x "$python" ] || python3 -m venv "$work/venv"
pip() { "$python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install -r tests/clients/requirements.txt

started=()
stop() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    started=()
}
trap stop EXIT

# Starts a server, waits until it says where it listens, and leaves that in $address. The
# environment is empty but for what is named: a key that happens to be set would change the pool.
start() {
    local name=$1 log=$work/$1.log
    shift
    : >"$log"
    env -i PATH="$PATH" "$@" >"$log" 2>&1 &
    started+=($!)
    for _ in $(seq 300); do
        address=$(sed -n 's|.*listening on \(http://[0-9.:]*\).*|\1|p' "$log" | head -n 1)
        [ -z "$address" ] || return 0
        kill -0 "${started[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "$name did not say where it listens; it said:" >&2
    cat "$log" >&2
    exit 1
}

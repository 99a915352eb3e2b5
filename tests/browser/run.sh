#!/usr/bin/env bash
# Lets web pages in a real browser try to use the gateway: Chromium, driven by Playwright.
#
#     tests/browser/run.sh [GATEWAY_BINARY]
#
# Without a binary it builds the example. The browser is the program that CHROMIUM names, else the system's `chromium`,
# else it is installed with apt-get. All names that end in .test lead to this machine, and no other name leads anywhere.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=target/browser
. tests/clients/common.sh
pip install -r tests/browser/requirements.txt

chromium=${CHROMIUM:-chromium}
if ! command -v "$chromium" >/dev/null; then
    apt-get update -qq && apt-get install -qq -y chromium
fi

start pages "$python" tests/browser/pages.py
port=${address##*:}

start gateway-closed "$gateway" --listen localhost:0
closed=$address
start gateway-open "$gateway" --listen localhost:0 --cors-origin "http://app.test:$port"
open=$address
start gateway-keys CALLERS=first-key,second-key "$gateway" --listen localhost:0 \
    --cors-origin "http://app.test:$port" --access-keys-env CALLERS
keys=$address

CHROMIUM=$(command -v "$chromium") PAGES_PORT=$port CLOSED=$closed OPEN=$open KEYS=$keys \
    PYTHONPATH=tests/clients "$python" tests/browser/laws.py

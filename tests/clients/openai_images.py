"""Laws of images that a stock OpenAI client sees through a gateway with one provider, an sdnext
(stub_sdnext.py) with a personal checkpoint of 512 by 768 pixels and its base model.

    GATEWAY_URL=http://127.0.0.1:3733 SDNEXT_URL=http://127.0.0.1:7860 python openai_images.py
"""

import base64
import os
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai

from openai_python import CLIENT, URL, assert_openai_shape, raised, run

PERSONAL = "sks-fox.safetensors"
SDNEXT = os.environ.get("SDNEXT_URL", "http://127.0.0.1:7860")


def generate(**more):
    return CLIENT.images.generate(
        **{"model": PERSONAL, "prompt": "photo of a sks fox", "size": "64x32"} | more
    )


def size_of(png):
    """Width and height of a PNG, every chunk of which is whole."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n", png[:8]
    at, pixels = 8, b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (crc,) = struct.unpack(">I", png[at + 8 + length : at + 12 + length])
        assert crc == zlib.crc32(kind + data), kind
        if kind == b"IHDR":
            width, height = struct.unpack(">II", data[:8])
        if kind == b"IDAT":
            pixels += data
        at += 12 + length
    assert kind == b"IEND"
    assert len(zlib.decompress(pixels)) == (width + 1) * height
    return width, height


def images_come_as_they_are_asked_for():
    answer = generate(n=2, size="512x256", response_format="b64_json", extra_body={"seed": 7})
    assert isinstance(answer.created, int) and answer.created > 1_700_000_000, answer.created
    assert len(answer.data) == 2
    for number, image in enumerate(answer.data):
        assert size_of(base64.b64decode(image.b64_json, validate=True)) == (512, 256)
        assert image.url is None
        assert image.model_extra["seed"] == 7 + number, image.model_extra
        assert image.model_extra["media_type"] == "image/png", image.model_extra
    assert answer.output_format == "png"
    metadata = answer.model_extra["metadata"]
    assert metadata["model"] == "sks-fox" and metadata["seeds"] == [7, 8], metadata


def an_image_comes_as_a_data_url():
    (image,) = generate(response_format="url").data
    head, data = image.url.split(",")
    assert head == "data:image/png;base64" and image.b64_json is None
    assert size_of(base64.b64decode(data)) == (64, 32)


def a_checkpoint_has_a_size_of_its_own():
    for size in ["auto", openai.NOT_GIVEN]:
        (image,) = generate(size=size).data
        assert size_of(base64.b64decode(image.b64_json)) == (512, 768)


def the_answer_says_who_made_it():
    raw = CLIENT.images.with_raw_response.generate(model=PERSONAL, prompt="a sks fox", size="8x8")
    assert raw.headers["x-free-model"] == PERSONAL, raw.headers
    assert raw.headers["x-free-provider"] == "sdnext", raw.headers
    assert "canary" not in raw.text + str(raw.headers)


def a_checkpoint_that_sdnext_does_not_have_is_no_other_one():
    error = raised(openai.InternalServerError, lambda: generate(model="lost.safetensors"))
    assert error.body["metadata"]["last_error"]["status"] == 404, error.body
    assert_openai_shape(error.response.json())
    assert "gone" in error.response.headers["x-free-trail"], error.response.headers


def an_unknown_model_is_not_found_when_pinned():
    pinned = {"x-free-pin": "true"}
    error = raised(openai.NotFoundError, lambda: generate(model="dall-e-3", extra_headers=pinned))
    assert "dall-e-3" in error.message, error
    assert_openai_shape(error.response.json())


def what_sdnext_cannot_make_is_refused_by_name():
    for field, value in [("size", "500x500"), ("n", 11), ("stream", True), ("prompt", " ")]:
        error = raised(openai.BadRequestError, lambda: generate(**{field: value}))
        assert error.param == field, error.body


def many_at_once_are_served_one_at_a_time():
    with ThreadPoolExecutor(5) as threads:
        for answer in threads.map(lambda _: generate(), range(5)):
            assert len(answer.data) == 1
    assert httpx.get(f"{SDNEXT}/most-inside").json() == 1


def progress_is_in_the_status():
    def images():
        status = httpx.get(URL.removesuffix("/v1") + "/status").json()
        (sdnext,) = [provider for provider in status["providers"] if provider["name"] == "sdnext"]
        return sdnext["images"]

    with ThreadPoolExecutor(2) as threads:
        slow = [threads.submit(generate, extra_body={"steps": 30}) for _ in range(2)]
        seen = None
        for _ in range(600):
            now = images()
            if now["waiting"] == 1 and now["running"] and now["running"]["fraction"] > 0:
                seen = now
                break
            time.sleep(0.02)
        for answer in slow:
            answer.result()
    assert seen and seen["running"]["eta_s"] == 1.5, seen
    assert images() == {"waiting": 0, "running": None}


LAWS = [
    images_come_as_they_are_asked_for,
    an_image_comes_as_a_data_url,
    a_checkpoint_has_a_size_of_its_own,
    the_answer_says_who_made_it,
    a_checkpoint_that_sdnext_does_not_have_is_no_other_one,
    an_unknown_model_is_not_found_when_pinned,
    what_sdnext_cannot_make_is_refused_by_name,
    many_at_once_are_served_one_at_a_time,
    progress_is_in_the_status,
]

if __name__ == "__main__":
    sys.exit(run(LAWS) > 0)

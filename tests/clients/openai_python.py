"""Laws that a stock OpenAI client sees through a gateway.

    GATEWAY_URL=http://127.0.0.1:3733 python openai_python.py [pool | limited]

`pool` expects the simulated pool behind the gateway, in which models fail all the time; `limited`
expects one provider that always answers 429 with `Retry-After: 7` (stub_upstream.py). The client
never retries: what it would hide is the gateway's work.
"""

import base64
import json
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai

URL = os.environ.get("GATEWAY_URL", "http://127.0.0.1:3733").rstrip("/") + "/v1"
CLIENT = openai.OpenAI(base_url=URL, api_key="any", max_retries=0, timeout=120)

HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "mood": {"enum": ["glad", "sad"]},
    },
    "required": ["name", "age", "mood"],
    "additionalProperties": False,
}


def chat(**more):
    return CLIENT.chat.completions.create(**{"model": "free", "messages": HELLO} | more)


def text_of(answer):
    text = answer.choices[0].message.content
    assert text, answer
    return text


def raised(kind, call):
    """The error of this very kind that the call raises."""
    try:
        answer = call()
    except openai.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        return error
    raise AssertionError(f"expected {kind.__name__}, got {answer}")


def assert_openai_shape(body):
    error = body["error"]
    assert isinstance(error["message"], str) and error["message"], body
    assert isinstance(error["type"], str), body
    assert "param" in error and "code" in error, body


# The simulated pool.


def chat_answers():
    raw = CLIENT.chat.completions.with_raw_response.create(model="free", messages=HELLO)
    answer = raw.parse()
    assert "hello" in text_of(answer), answer
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0
    assert raw.headers["x-free-model"], raw.headers
    assert raw.headers["x-free-provider"], raw.headers
    assert raw.headers["x-free-simulated"] == "true", raw.headers


def any_model_name_answers():
    for name in ["auto", "openrouter/free", "gpt-4o", ""]:
        text_of(chat(model=name))


def stream_yields_and_finishes():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    words = [choice.delta.content for choice in choices if choice.delta.content]
    assert len(words) > 1 and "hello" in "".join(words), words
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert chunks[-1].usage.total_tokens > 0, chunks[-1]


def tools_are_called_and_their_results_answered():
    answer = chat(tools=[WEATHER])
    assert answer.choices[0].finish_reason == "tool_calls", answer
    message = answer.choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == "weather"
    arguments = json.loads(call.function.arguments)
    assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int), arguments

    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    second = chat(messages=[*HELLO, message.model_dump(exclude_none=True), result], tools=[WEATHER])
    assert "rain" in text_of(second), second


def streamed_tool_calls_parse():
    name, arguments = None, ""
    for chunk in chat(tools=[WEATHER], stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            name = call.function.name or name
            arguments += call.function.arguments or ""
    assert name == "weather"
    assert set(json.loads(arguments)) == {"city", "days"}, arguments


def json_schema_output_parses():
    schema = {"name": "person", "strict": True, "schema": PERSON}
    answer = chat(response_format={"type": "json_schema", "json_schema": schema})
    person = json.loads(text_of(answer))
    assert isinstance(person["name"], str) and isinstance(person["age"], int), person
    assert person["mood"] in ("glad", "sad"), person


def json_object_output_parses():
    answer = chat(response_format={"type": "json_object"})
    assert isinstance(json.loads(text_of(answer)), dict)


def images_are_read():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    words = {"type": "text", "text": "what is this?"}
    text_of(chat(messages=[{"role": "user", "content": [words, picture]}]))


def completions_go_on_with_a_prompt():
    prompt = {"model": "free", "prompt": "hello"}
    assert CLIENT.completions.create(**prompt).choices[0].text
    pieces = [chunk.choices[0].text for chunk in CLIENT.completions.create(**prompt, stream=True)]
    assert "hello" in "".join(pieces), pieces


def responses_stream_and_go_on():
    first = CLIENT.responses.create(model="free", input="hello")
    assert first.output_text, first
    events = list(CLIENT.responses.create(model="free", input="hello", stream=True))
    assert events[-1].type == "response.completed", events
    error = raised(
        openai.BadRequestError,
        lambda: CLIENT.responses.create(model="free", input="so?", previous_response_id="resp_0"),
    )
    assert error.code == "previous_response_not_found", error.body


def vectors_are_those_of_one_model():
    answer = CLIENT.embeddings.create(model="free", input=["hello", "world"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 1, answer
    raised(openai.NotFoundError, lambda: CLIENT.embeddings.create(model="no-such", input="hello"))


def pictures_are_drawn_and_redrawn():
    drawn = CLIENT.images.generate(prompt="a fox", n=2, size="64x64").data
    pictures = [base64.b64decode(picture.b64_json) for picture in drawn]
    assert len(pictures) == 2, drawn
    again = CLIENT.images.edit(image=("fox.png", pictures[0]), prompt="a red fox").data
    for picture in [*pictures, base64.b64decode(again[0].b64_json)]:
        assert picture.startswith(b"\x89PNG"), picture[:8]


def recordings_are_heard():
    recording = ("hello.wav", b"RIFF")
    for api in (CLIENT.audio.transcriptions, CLIENT.audio.translations):
        assert "heard" in api.create(model="whisper-1", file=recording).text


def models_are_listed_and_retrieved():
    ids = [model.id for model in CLIENT.models.list()]
    assert ids[0] == "free" and len(ids) > 1, ids
    assert len(ids) == len(set(ids)), ids
    for name in ids:
        assert CLIENT.models.retrieve(name).id == name


def a_listed_model_answers_when_pinned():
    model = "lighthouse-70b"
    pinned = {"x-free-pin": "true"}
    raw = CLIENT.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, extra_headers=pinned
    )
    assert raw.headers["x-free-model"] == model, raw.headers
    text_of(raw.parse())


def thirty_chats_in_a_row_succeed():
    for _ in range(30):
        text_of(chat())


def thirty_chats_at_once_succeed_each_with_its_own_answer():
    def one(number):
        said = f"this is number {number}."
        assert said in text_of(chat(messages=[{"role": "user", "content": said}]))

    with ThreadPoolExecutor(30) as threads:
        list(threads.map(one, range(30)))


def ten_streams_at_once_succeed():
    def one(_):
        chunks = list(chat(stream=True))
        assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(one, range(10)))


def a_tool_that_costs_is_left_out_and_named():
    # A coding agent sends it with every request.
    request = {"model": "free", "messages": HELLO, "tools": [{"type": "web_search"}]}
    raw = CLIENT.chat.completions.with_raw_response.create(**request)
    assert raw.headers["x-free-dropped"] == "tools[0]", raw.headers
    text_of(raw.parse())


def a_tool_that_costs_and_is_demanded_is_refused_by_name():
    tool = {"type": "web_search"}
    error = raised(openai.BadRequestError, lambda: chat(tools=[tool], tool_choice=tool))
    assert "web_search" in error.message, error
    assert_openai_shape(error.response.json())


def a_body_that_is_no_json_is_refused():
    headers = {"content-type": "application/json"}
    for body in [b'{"messages": [', b"[]", b"hello", b'{"a": "\xff"}']:
        response = httpx.post(f"{URL}/chat/completions", content=body, headers=headers)
        assert response.status_code == 400, (body, response.text)
        assert_openai_shape(response.json())


def an_unknown_model_is_not_found_when_pinned():
    pinned = {"x-free-pin": "true"}
    error = raised(openai.NotFoundError, lambda: chat(model="no-such-model", extra_headers=pinned))
    assert "no-such-model" in error.message, error
    assert_openai_shape(error.response.json())


def a_need_that_no_model_has_is_named():
    error = raised(openai.NotFoundError, lambda: chat(modalities=["audio"]))
    assert error.param == "output_audio", error.body
    assert_openai_shape(error.response.json())


def an_unknown_route_is_not_found():
    response = httpx.get(f"{URL}/no-such-route")
    assert response.status_code == 404 and response.json(), response.text


# One provider that is limited for seven seconds.


def a_limit_arrives_as_a_rate_limit_error():
    error = raised(openai.RateLimitError, chat)
    assert error.status_code == 429
    assert 1 <= int(error.response.headers["retry-after"]) <= 7, error.response.headers
    assert_openai_shape(error.response.json())


def a_limit_holds_for_streams_too():
    error = raised(openai.RateLimitError, lambda: chat(stream=True))
    assert 1 <= int(error.response.headers["retry-after"]) <= 7, error.response.headers


def the_providers_key_is_not_in_the_error():
    response = raised(openai.RateLimitError, chat).response
    assert "canary" not in response.text + str(response.headers), response.text


def an_empty_pool_of_images_says_what_would_fill_it():
    error = raised(openai.NotFoundError, lambda: CLIENT.images.generate(prompt="a fox"))
    assert error.param == "output_image", error.body
    assert "AUTOMATIC1111" in error.message, error
    assert_openai_shape(error.response.json())


LAWS = {
    "pool": [
        chat_answers,
        any_model_name_answers,
        stream_yields_and_finishes,
        tools_are_called_and_their_results_answered,
        streamed_tool_calls_parse,
        json_schema_output_parses,
        json_object_output_parses,
        images_are_read,
        completions_go_on_with_a_prompt,
        responses_stream_and_go_on,
        vectors_are_those_of_one_model,
        pictures_are_drawn_and_redrawn,
        recordings_are_heard,
        models_are_listed_and_retrieved,
        a_listed_model_answers_when_pinned,
        thirty_chats_in_a_row_succeed,
        thirty_chats_at_once_succeed_each_with_its_own_answer,
        ten_streams_at_once_succeed,
        a_tool_that_costs_is_left_out_and_named,
        a_tool_that_costs_and_is_demanded_is_refused_by_name,
        a_body_that_is_no_json_is_refused,
        an_unknown_model_is_not_found_when_pinned,
        a_need_that_no_model_has_is_named,
        an_unknown_route_is_not_found,
    ],
    "limited": [
        a_limit_arrives_as_a_rate_limit_error,
        a_limit_holds_for_streams_too,
        the_providers_key_is_not_in_the_error,
        an_empty_pool_of_images_says_what_would_fill_it,
    ],
}


def run(laws):
    """Tries each law; how many failed."""
    failed = 0
    for law in laws:
        name = law.__name__.replace("_", " ")
        try:
            law()
            print(f"ok {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
    print(f"{len(laws) - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(run(LAWS[sys.argv[1] if len(sys.argv) > 1 else "pool"]) > 0)

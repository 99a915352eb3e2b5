"""Laws that the official OpenAI client sees of a real model behind the gateway.

    GATEWAY_URL=http://127.0.0.1:3733 python laws.py

The model is small and says little that is true: what is checked is that each kind of request reaches it, and that its
answers come back whole.
"""

import json
import math
import os
import sys
import traceback

import openai

URL = os.environ["GATEWAY_URL"].rstrip("/")
CLIENT = openai.OpenAI(base_url=URL + "/v1", api_key="any", max_retries=0, timeout=120)
MODEL = "smollm2-135m"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(text):
    return [{"role": "user", "content": text}]


def a_chat_is_answered_by_the_model_that_the_headers_name():
    raw = CLIENT.chat.completions.with_raw_response.create(model="free", messages=ask("Say hello."), max_tokens=20)
    answer = raw.parse()
    assert answer.choices[0].message.content.strip(), answer
    assert raw.headers["x-free-model"] == MODEL, raw.headers
    assert raw.headers["x-free-provider"] == "llama-cpp", raw.headers
    assert answer.usage.completion_tokens > 0, answer


def a_stream_says_what_the_whole_answer_says():
    request = {"model": "free", "messages": ask("Count to five."), "max_tokens": 24, "temperature": 0, "seed": 1}
    whole = CLIENT.chat.completions.create(**request).choices[0].message.content
    chunks = list(CLIENT.chat.completions.create(**request, stream=True))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(chunks) > 3 and streamed == whole, (streamed, whole)
    assert any(chunk.choices and chunk.choices[0].finish_reason for chunk in chunks)


def a_tool_is_called_with_arguments_of_its_schema():
    # So small a model has to be shown what a call looks like.
    shown = []
    for city in ["Rome", "Oslo", "Lima"]:
        call = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        shown += ask(f"What is the weather in {city}?")
        shown += [{"role": "assistant", "content": "", "tool_calls": [{"id": city, "type": "function", "function": call}]}]
    answer = CLIENT.chat.completions.create(
        model="free",
        messages=shown + ask("What is the weather in Paris?"),
        tools=[WEATHER],
        tool_choice="required",
        max_tokens=100,
        temperature=0,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls", answer
    assert call.function.name == "get_weather", call
    assert list(json.loads(call.function.arguments)) == ["city"], call


def an_answer_follows_a_json_schema():
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}},
        "required": ["city", "large"],
        "additionalProperties": False,
    }
    answer = CLIENT.chat.completions.create(
        model="free",
        messages=ask("Name a city, and say whether it is large."),
        response_format={"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}},
        max_tokens=80,
        temperature=0,
    )
    value = json.loads(answer.choices[0].message.content)
    assert isinstance(value["city"], str) and isinstance(value["large"], bool) and len(value) == 2, value


def embeddings_of_like_texts_are_alike():
    texts = ["The cat sleeps on the sofa.", "A cat is sleeping on a couch.", "Interest rates rose by two percent."]
    # The client asks for base64 unless it is told otherwise; both must come through.
    for how in [{}, {"encoding_format": "float"}]:
        raw = CLIENT.embeddings.with_raw_response.create(model=MODEL, input=texts, **how)
        cat, couch, rates = (row.embedding for row in raw.parse().data)
        assert len(cat) == len(couch) == 576, len(cat)
        assert cosine(cat, couch) > cosine(cat, rates), (cosine(cat, couch), cosine(cat, rates))
        assert raw.headers["x-free-model"] == MODEL


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def embeddings_without_a_model_go_to_the_configured_one():
    answer = CLIENT.embeddings.create(model="free", input="hello")
    assert len(answer.data[0].embedding) == 576


def embeddings_are_never_made_by_another_model():
    try:
        CLIENT.embeddings.create(model="text-embedding-3-small", input="hello")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an answer")


def a_completion_and_a_response_are_answered():
    completion = CLIENT.completions.create(model="free", prompt="Once upon a time", max_tokens=12)
    assert completion.choices[0].text.strip(), completion
    response = CLIENT.responses.create(model="free", input="Say hello.", max_output_tokens=20)
    assert response.output_text.strip(), response
    events = list(CLIENT.responses.create(model="free", input="Say hello.", max_output_tokens=20, stream=True))
    assert events[-1].type in ("response.completed", "response.incomplete"), events[-1]


def a_prompt_beyond_the_window_is_the_callers_fault():
    try:
        CLIENT.chat.completions.create(model="free", messages=ask("word " * 6000), max_tokens=10)
    except openai.BadRequestError as error:
        assert "context" in str(error).lower(), error
    else:
        raise AssertionError("an answer")


LAWS = [
    a_chat_is_answered_by_the_model_that_the_headers_name,
    a_stream_says_what_the_whole_answer_says,
    a_tool_is_called_with_arguments_of_its_schema,
    an_answer_follows_a_json_schema,
    embeddings_of_like_texts_are_alike,
    embeddings_without_a_model_go_to_the_configured_one,
    embeddings_are_never_made_by_another_model,
    a_completion_and_a_response_are_answered,
    a_prompt_beyond_the_window_is_the_callers_fault,
]

failed = 0
for law in LAWS:
    try:
        law()
        print("ok", law.__name__.replace("_", " "))
    except Exception:
        failed += 1
        print("FAILED", law.__name__.replace("_", " "))
        traceback.print_exc()
sys.exit(1 if failed else 0)

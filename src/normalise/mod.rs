//! Rewrites whole answers that are not quite OpenAI's, so that strict clients can read them.
//!
//! Only whole answers of `/chat/completions` and `/completions` are changed, and only in fields at which a client in a
//! typed language, or an agent built on one, is known to fail. All other bytes stay as they were written. The header
//! `x-free-normalised` names the fields that were changed. Streams, and answers larger than the fallback's
//! [peek limit](crate::FallbackLayer::peek_limit), pass as they are.
//!
//! | field | what comes | clients that fail at it |
//! |---|---|---|
//! | `id`, `object`, `index` | missing or null (Ollama's cloud) | pydantic-ai#2996; openai-java: "`id` is not set" |
//! | `created` | missing, a float, a string | spring-ai#6004; openai-java, openai-dotnet and pydantic want an integer |
//! | `model` | missing or null | openai-java, pydantic |
//! | `service_tier` | `on_demand` (Groq), `standard` (Bedrock) | async-openai#498, pydantic-ai#2499 |
//! | `usage` | counts that are null or missing, floats | openai-dotnet, pydantic |
//! | `finish_reason` | `eos` (Together), `""`, null, `COMPLETE` (Cohere), `model_length` (Mistral) | openai-dotnet#342, #389 |
//! | `finish_reason` | `stop` beside tool calls (Gemini) | agents that go on at `tool_calls` only: litellm#6104 |
//! | `role` | missing, `model` | openai-dotnet, pydantic |
//! | `content` | missing beside tool calls (Groq, Mistral, Cerebras) | required by OpenAI's specification |
//! | `content` | parts, with thinking among them (Mistral) | vercel/ai#17779, spring-ai#5019, ragflow#14805 |
//! | `content` | the JSON itself that was asked for (Cloudflare) | all: a string is expected |
//! | `tool_calls[].id` | `""` (Gemini), missing | autogen#4878: an answer to a call names it |
//! | `tool_calls[].type` | missing (Mistral) | openai-java and openai-dotnet tell calls apart by it |
//! | `arguments` | an object (llama.cpp), null | llama.cpp#20198: a string is expected |
//! | `text` of a completion | missing or null | a string is expected |

mod body;
mod future;
pub(crate) mod layer;
mod mend;
mod service;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use self::mend::normalise;
pub use self::{body::ResponseBody, future::ResponseFuture, service::Normalise};

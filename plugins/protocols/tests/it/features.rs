//! Features as people understand them, and the cases that show them: for each of [`FEATURES`] a table with all 16
//! cells, for requests, whole answers and streams.

use crate::cases::{Case, Kind, PROTOCOLS};
use std::fmt::Write as _;

/// A feature. Each list has an entry for each protocol, in the order of [`PROTOCOLS`]: names of cases, separated by
/// spaces, or `-` and the reason why there can be none, or `!` and the reason why it is not translated.
struct Feature {
    name: &'static str,
    /// By the client's protocol.
    asked: [&'static str; 4],
    /// By the upstream's protocol.
    whole: [&'static str; 4],
    /// By the upstream's protocol.
    streamed: [&'static str; 4],
}

const fn all(cases: &'static str) -> [&'static str; 4] {
    [cases; 4]
}

/// A feature of requests: answers do not show it, or show it by members that every answer has.
const fn only_asked(name: &'static str, asked: [&'static str; 4]) -> Feature {
    Feature { name, asked, whole: all("- only asked"), streamed: all("- only asked") }
}

const fn only_answered(name: &'static str, whole: [&'static str; 4], streamed: [&'static str; 4]) -> Feature {
    Feature { name, asked: all("- only answered"), whole, streamed }
}

/// Every feature of the wire formats that more than one provider has.
const FEATURES: &[Feature] = &[
    Feature { name: "Text", asked: all("text"), whole: all("text"), streamed: all("text") },
    only_asked("System and developer prompts", ["system system-only", "system", "system", "system"]),
    only_asked("Conversations of several turns", all("turns")),
    Feature {
        name: "Images as base64",
        asked: all("images"),
        whole: IMAGES_ANSWERED,
        streamed: IMAGES_ANSWERED,
    },
    only_asked("Images by URL", ["image-url", "image-url", "image-url image-url-plain", "image-url"]),
    only_asked(
        "PDFs and other files",
        [
            "pdf uploaded-file",
            "pdf pdf-url uploaded-file",
            "pdf pdf-url text-document uploaded-file",
            "pdf uploaded-file",
        ],
    ),
    only_asked(
        "Audio that is heard",
        ["audio-input", "audio-input", "- Anthropic takes no audio", "audio-input"],
    ),
    only_asked(
        "Audio that is spoken",
        ["audio-output", "- the Responses API does not speak", "- Claude does not speak", "audio-output"],
    ),
    only_asked("Tools: definitions", ["tools", "tools", "tools tool-names", "tools tool-names"]),
    only_asked("Tools: the choice among them", [CHOICES, CHOICES, CHOICES_OF_ANTHROPIC, CHOICES]),
    Feature {
        name: "Tools: parallel calls",
        asked: [ONE_OR_MORE, ONE_OR_MORE, ONE_OR_MORE, "parallel-calls"],
        whole: all("calls"),
        streamed: ["calls interleaved-calls", "calls", "calls", "calls"],
    },
    Feature {
        name: "Tools: ids of calls",
        asked: ["long-ids", "long-ids", "long-ids", "ids parallel-calls"],
        whole: all("calls"),
        streamed: ["calls sloppy-calls", "calls", "calls", "calls"],
    },
    only_asked(
        "Tools: results",
        [
            "parallel-calls",
            "parallel-calls words-before-results",
            "parallel-calls empty-result",
            "parallel-calls unasked-answer",
        ],
    ),
    Feature {
        name: "Tools: arguments in pieces",
        asked: all("- only streamed"),
        whole: all("- only streamed"),
        streamed: ["calls interleaved-calls", "calls", "calls", "calls"],
    },
    only_asked(
        "Tools: failures",
        [
            "- Chat Completions does not tell that a tool failed",
            "- the Responses API does not tell that a tool failed",
            "tool-error",
            "tool-error",
        ],
    ),
    only_asked(
        "Structured output",
        ["json-schema json-object", "json-schema json-object", "json-schema", "json-schema json-object"],
    ),
    Feature {
        name: "Stop sequences",
        asked: ["stop stop-blank", "- the Responses API has none", "stop stop-many", "stop"],
        whole: [UNTOLD_STOP, UNTOLD_STOP, "stop-sequence", UNTOLD_STOP],
        streamed: [UNTOLD_STOP, UNTOLD_STOP, "stop-sequence", UNTOLD_STOP],
    },
    only_asked(
        "Sampling",
        [
            "sampling hot penalties seed logit-bias",
            "sampling",
            "sampling top-k",
            "sampling top-k penalties seed",
        ],
    ),
    Feature {
        name: "Length of the answer",
        asked: all("sampling"),
        whole: ["length", "length", "max-tokens model-context-window-exceeded", "max-tokens"],
        streamed: all("length"),
    },
    Feature {
        name: "Several answers",
        asked: ["candidates", "- the Responses API gives one", "- Anthropic gives one", "candidates"],
        whole: ["candidates", "- the Responses API gives one", "- Anthropic gives one", "candidates"],
        streamed: ["candidates", "- the Responses API gives one", "- Anthropic gives one", "candidates"],
    },
    Feature {
        name: "Log probabilities",
        asked: ["logprobs", "logprobs", "- Anthropic tells none", "logprobs"],
        whole: ["logprobs", "logprobs", "- Anthropic tells none", "logprobs"],
        streamed: ["logprobs", "logprobs", "- Anthropic tells none", "logprobs"],
    },
    only_asked(
        "Thinking: how hard",
        [
            "reasoning reasoning-off",
            "reasoning reasoning-off",
            "reasoning reasoning-off reasoning-adaptive",
            "reasoning reasoning-off reasoning-adaptive reasoning-level",
        ],
    ),
    Feature {
        name: "Thinking: thoughts and what proves them",
        asked: all("thoughts"),
        whole: all("thoughts"),
        streamed: all("thoughts"),
    },
    Feature {
        name: "Prompt caches",
        asked: ["cache-key", "cache-key", "cache", "cached-content"],
        whole: all("text"),
        streamed: all("text"),
    },
    Feature {
        name: "Safety",
        asked: [NO_FILTERS, NO_FILTERS, NO_FILTERS, "safety safety-off"],
        whole: ["filtered", "filtered", "refusal", "safety blocked recitation"],
        streamed: ["filtered", "filtered", "refusal", "safety blocked"],
    },
    Feature {
        name: "Refusals",
        asked: [
            "refusal",
            "refusal",
            "- an earlier refusal is text there",
            "- an earlier refusal is text there",
        ],
        whole: ["refusal", "refusal", "refusal", "- Gemini refuses by its filter"],
        streamed: ["refusal", "refusal", "refusal", "- Gemini refuses by its filter"],
    },
    Feature {
        name: "Citations",
        asked: ["- only answered", "cited-history", "citations cited-history", "- only answered"],
        whole: all("citations"),
        streamed: all("citations"),
    },
    Feature {
        name: "Service tiers",
        asked: [
            "service-tier service-tier-standard",
            "service-tier",
            "service-tier service-tier-standard",
            "service-tier",
        ],
        whole: all("text"),
        streamed: ["text", "text", "text", "tier"],
    },
    only_asked("User and metadata", ["user", "user", "user", "labels"]),
    only_answered("Usage", all("text"), all("text")),
    Feature {
        name: "Tools that a provider runs",
        asked: ["web-search", "server-tools", "server-tools", "server-tools"],
        whole: all("- is refused when asked for"),
        streamed: all("- is refused when asked for"),
    },
    only_asked("Members that are new", all("unknown-member")),
    Feature {
        name: "Failures in the middle of a stream",
        asked: all("- only streamed"),
        whole: all("- only streamed"),
        streamed: ["failure garbage cut", "failed error cut", "failure early-failure cut", "failure cut"],
    },
];

const IMAGES_ANSWERED: [&str; 4] =
    ["- answers are text", "- answers are text", "- answers are text", "! answers are text elsewhere"];
const CHOICES: &str = "tools tool-choice-none tool-choice-required tool-choice-allowed";
const CHOICES_OF_ANTHROPIC: &str = "tools tool-choice-auto tool-choice-none tool-choice-required";
const ONE_OR_MORE: &str = "parallel-calls one-call-at-a-time";
const UNTOLD_STOP: &str = "- the answer does not tell which one it met";
const NO_FILTERS: &str = "- only Gemini can be told what to filter";

/// The tables.
pub(crate) fn document(cases: &[Case]) -> String {
    let mut out = "\n## Features\n\n\
        In each cell: what becomes of a request, of a whole answer and of a stream. **bytes**: both sides speak the same protocol,\n\
        and the original bytes pass, whatever is in them (the end-to-end tests prove it by comparing them).\n"
        .to_owned();
    for feature in FEATURES {
        write!(out, "\n### {}\n\n| client |", feature.name).unwrap();
        PROTOCOLS.iter().for_each(|(_, name)| write!(out, " {name} |").unwrap());
        out.push_str("\n|---|---|---|---|---|\n");
        for (client, (_, name)) in PROTOCOLS.iter().enumerate() {
            write!(out, "| {name} |").unwrap();
            for upstream in 0..PROTOCOLS.len() {
                write!(out, " {} |", cell(cases, feature, client, upstream)).unwrap();
            }
            out.push('\n');
        }
    }
    out
}

fn cell(cases: &[Case], feature: &Feature, client: usize, upstream: usize) -> String {
    if client == upstream {
        return "bytes".to_owned();
    }
    let asked = side(cases, Kind::Request, client, upstream, feature.asked[client]);
    let whole = side(cases, Kind::Response, upstream, client, feature.whole[upstream]);
    let streamed = side(cases, Kind::Stream, upstream, client, feature.streamed[upstream]);
    let answered = if whole == streamed {
        format!("whole and streamed: {whole}")
    } else {
        format!("whole: {whole}<br>streamed: {streamed}")
    };
    format!("asked: {asked}<br>{answered}")
}

/// The result of cases of protocol `from` in protocol `to`.
fn side(cases: &[Case], kind: Kind, from: usize, to: usize, names: &str) -> String {
    if let Some(reason) = names.strip_prefix("- ") {
        return format!("n/a ({reason})");
    }
    if let Some(reason) = names.strip_prefix("! ") {
        return format!("left out ({reason})");
    }
    let mut passed = false;
    let mut refused: Vec<String> = Vec::new();
    for name in names.split(' ') {
        let protocol = PROTOCOLS[from];
        let found = cases
            .iter()
            .find(|case| (case.kind, case.protocol, case.feature.as_str()) == (kind, protocol.0, name));
        let case = found.unwrap_or_else(|| panic!("no {kind:?} of {} is called {name}", protocol.1));
        let output = case.output(PROTOCOLS[to].0);
        match output.strip_prefix("refused: ") {
            Some(why) => refused.push(format!("refused: {}", why.replace('|', "\\|"))),
            None => passed = true,
        }
    }
    refused.dedup();
    if passed {
        refused.insert(0, "passes".to_owned());
    }
    refused.join("; ")
}

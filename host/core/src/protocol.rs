//! Wire formats and the operations that they share.

/// The wire format of a client or an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// OpenAI Chat Completions, with the calls that share its errors (embeddings, model lists).
    OpenaiChat,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Anthropic Messages.
    AnthropicMessages,
    /// Google Gemini `generateContent`.
    Gemini,
}

impl Protocol {
    /// All of them, in the order of the WIT enum.
    pub const ALL: [Self; 4] =
        [Self::OpenaiChat, Self::OpenaiResponses, Self::AnthropicMessages, Self::Gemini];

    /// The name used in logs, metrics, records and configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Gemini => "gemini",
        }
    }
}

/// What the client asks for, whatever its protocol calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Produce an answer: billed.
    Generate,
    /// Count tokens without running the request: never billed.
    CountTokens,
    /// Embed input: billed by input.
    Embed,
    /// Embed a batch: billed by input.
    EmbedBatch,
    /// List models: never billed.
    ListModels,
    /// Run an interaction (Gemini `interactions`): billed as an answer is.
    Interact,
    /// Go on with a text (OpenAI `completions`): billed as an answer is.
    Complete,
    /// Make images of words: billed by tokens or by the image.
    MakeImages,
    /// Make images of images: likewise.
    EditImages,
    /// Speak a text: billed by the character.
    Speak,
    /// Write down what is spoken: billed by tokens or by the second.
    Transcribe,
    /// Write it down in English: likewise.
    TranslateSpeech,
    /// Judge texts: billed by input.
    Moderate,
    /// Order documents by a question: billed by input.
    Rerank,
    /// Begin to keep a file (Gemini `files`): billed by the request.
    KeepFile,
    /// Go on with a file that is kept or coming, tell of it or remove it: never billed.
    KeptFiles,
}

impl Operation {
    /// All that a record may name: see [`Operation::recorded`].
    pub const ALL: [Self; 14] = [
        Self::Generate,
        Self::CountTokens,
        Self::Embed,
        Self::EmbedBatch,
        Self::ListModels,
        Self::MakeImages,
        Self::EditImages,
        Self::Speak,
        Self::Transcribe,
        Self::TranslateSpeech,
        Self::Moderate,
        Self::Rerank,
        Self::KeepFile,
        Self::KeptFiles,
    ];

    /// The operation as which it is recorded and counted: interactions and completions count as
    /// answers.
    #[must_use]
    pub const fn recorded(self) -> Self {
        if self.generates() { Self::Generate } else { self }
    }

    /// The name used in logs, metrics and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::CountTokens => "count-tokens",
            Self::Embed => "embed",
            Self::EmbedBatch => "embed-batch",
            Self::ListModels => "list-models",
            Self::Interact => "interact",
            Self::Complete => "complete",
            Self::MakeImages => "make-images",
            Self::EditImages => "edit-images",
            Self::Speak => "speak",
            Self::Transcribe => "transcribe",
            Self::TranslateSpeech => "translate-speech",
            Self::Moderate => "moderate",
            Self::Rerank => "rerank",
            Self::KeepFile => "keep-file",
            Self::KeptFiles => "kept-files",
        }
    }

    /// Whether the operation costs points at all.
    #[must_use]
    pub const fn billed(self) -> bool {
        !matches!(self, Self::CountTokens | Self::ListModels | Self::KeptFiles)
    }

    /// Whether a model writes an answer.
    #[must_use]
    pub const fn generates(self) -> bool {
        matches!(self, Self::Generate | Self::Interact | Self::Complete)
    }

    /// Whether it is about files that a provider keeps.
    #[must_use]
    pub const fn keeps_files(self) -> bool {
        matches!(self, Self::KeepFile | Self::KeptFiles)
    }

    /// Whether its request is a form with files in it.
    #[must_use]
    pub const fn is_form(self) -> bool {
        matches!(self, Self::EditImages | Self::Transcribe | Self::TranslateSpeech)
    }
}

/// Whose credential serves an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The caller's own (bring your own key).
    User,
    /// The operator's.
    Platform,
    /// Another user's, lent with recorded consent.
    Shared,
}

impl Owner {
    /// The name used in logs, metrics and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Platform => "platform",
            Self::Shared => "shared",
        }
    }
}

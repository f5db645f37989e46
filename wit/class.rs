// The classes of usage, in their only place. The gateway (`host/core/src/usage.rs`) and the SDK for plugins
// (`plugins/sdk/src/types.rs`) both compile this file, and everything that differs by class is made from it: columns,
// receipts, metrics, price lists, the management API. A new class is a new line of this table and a reader in an
// adapter.

/// Hands the table of classes to a macro: documentation, name in code, stable number, name in texts, unit, side, and
/// what a unit costs where a price list does not say (`Stated`: the list is refused; `Like(X)`: what one of class `X`
/// costs; `Free`: nothing).
///
/// A number or name is never reused: records, receipts and plugins keep them for ever.
#[macro_export]
macro_rules! each_class {
    ($callback:ident) => {
        $callback! {
            /// Prompt tokens that no cache served or stored.
            Input = 1, input, Tokens, Prompt, Stated;
            /// Prompt tokens that a provider's cache served.
            CacheRead = 2, cache_read, Tokens, Prompt, Stated;
            /// Prompt tokens that went into a cache for minutes, or into the provider's only kind.
            CacheWriteShort = 3, cache_write_short, Tokens, Prompt, Stated;
            /// Prompt tokens that went into a cache for an hour.
            CacheWriteLong = 4, cache_write_long, Tokens, Prompt, Stated;
            /// Visible output tokens.
            Output = 5, output, Tokens, Output, Stated;
            /// Hidden output tokens.
            Reasoning = 6, reasoning, Tokens, Output, Like(Output);
            /// Prompt tokens of audio.
            AudioInput = 7, audio_input, Tokens, Prompt, Stated;
            /// Output tokens of audio.
            AudioOutput = 8, audio_output, Tokens, Output, Stated;
            /// Prompt tokens of images.
            ImageInput = 9, image_input, Tokens, Prompt, Like(Input);
            /// Output tokens of images.
            ImageOutput = 10, image_output, Tokens, Output, Like(Output);
            /// Images that a tool made.
            Image = 11, image, Images, Other, Free;
            /// Searches of the web that the provider made.
            WebSearch = 12, web_search, Calls, Other, Free;
            /// Searches of files that the provider made.
            FileSearch = 13, file_search, Calls, Other, Free;
            /// Containers in which the provider ran code.
            CodeInterpreter = 14, code_interpreter, Calls, Other, Free;
            /// Seconds of audio that were heard or spoken, where they are billed and no tokens of them.
            AudioSecond = 15, audio_second, Seconds, Other, Free;
            /// Characters that were spoken, where they are billed and no tokens of them.
            Character = 16, character, Characters, Other, Free;
            /// Searches of maps that the provider made.
            MapSearch = 17, map_search, Calls, Other, Free;
            /// Units in which rankings are billed: a question with up to a hundred documents, where they are billed so.
            SearchUnit = 18, search_unit, Calls, Other, Free;
        }
    };
}

macro_rules! define {
    ($(
        $(#[doc = $doc:literal])+
        $class:ident = $code:literal, $name:ident, $unit:ident, $side:ident, $unpriced:ident $(($like:ident))?;
    )+) => {
        /// What a unit of usage is counted as. A unit is counted in one class only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Class {
            $($(#[doc = $doc])+ $class,)+
        }

        impl Class {
            /// How many there are.
            pub const COUNT: usize = [$($code,)+].len();
            /// All of them, in the order in which they are shown.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$class,)+];

            /// The number that stands for it in bytes: receipts, the journal, what plugins are told. It never changes.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$class => $code,)+
                }
            }

            /// The name that stands for it in texts: records, price lists, the management API. It never changes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$class => stringify!($name),)+
                }
            }

            /// What it is, in a sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$class => concat!($($doc),+).trim_ascii_start(),)+
                }
            }

            /// What is counted.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self {
                    $(Self::$class => Unit::$unit,)+
                }
            }

            /// Where it arises.
            #[must_use]
            pub const fn side(self) -> Side {
                match self {
                    $(Self::$class => Side::$side,)+
                }
            }

            /// What a unit costs where a price list does not say.
            #[must_use]
            pub const fn unpriced(self) -> Unpriced {
                match self {
                    $(Self::$class => Unpriced::$unpriced $((Self::$like))?,)+
                }
            }
        }
    };
}

each_class!(define);

impl Class {
    /// The class with this number; `None` for one that only a later version knows.
    #[must_use]
    pub fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.code() == code)
    }

    /// The class with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Its place in [`Class::ALL`], for arrays that hold a value of each class.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it counts tokens on this side.
    #[must_use]
    pub const fn is_tokens_of(self, side: Side) -> bool {
        matches!(
            (self.unit(), self.side(), side),
            (Unit::Tokens, Side::Prompt, Side::Prompt) | (Unit::Tokens, Side::Output, Side::Output)
        )
    }
}

/// What a class counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Tokens of a model.
    Tokens,
    /// Images that were made.
    Images,
    /// Seconds.
    Seconds,
    /// Characters of text.
    Characters,
    /// Calls of a tool that the provider runs.
    Calls,
}

impl Unit {
    /// The name used in records and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Images => "images",
            Self::Seconds => "seconds",
            Self::Characters => "characters",
            Self::Calls => "calls",
        }
    }

    /// How many units a price is for where people write or read it: a million tokens or characters, but one of anything
    /// else.
    #[must_use]
    pub const fn priced_units(self) -> i64 {
        match self {
            Self::Tokens | Self::Characters => 1_000_000,
            Self::Images | Self::Seconds | Self::Calls => 1,
        }
    }
}

/// On which side of a request a class arises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// What was asked.
    Prompt,
    /// What was answered.
    Output,
    /// What the provider did beside that.
    Other,
}

/// What a unit costs where a price list does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unpriced {
    /// The list is refused: the class would be free.
    Stated,
    /// What a unit of this class costs.
    Like(Class),
    /// Nothing.
    Free,
}

macro_rules! define_tiers {
    ($($(#[$attribute:meta])+ $tier:ident = $code:literal, $name:literal;)+) => {
        /// How a request was served, as far as it changes what it costs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub enum ServiceTier {
            $($(#[$attribute])+ $tier,)+
        }

        impl ServiceTier {
            /// All of them.
            pub const ALL: [Self; [$($code,)+].len()] = [$(Self::$tier,)+];

            /// The number that stands for it in bytes. It never changes.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$tier => $code,)+
                }
            }

            /// The name that stands for it in texts. It never changes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$tier => $name,)+
                }
            }
        }
    };
}

define_tiers! {
    /// As everyone is, at the prices of the list.
    #[default]
    Standard = 0, "standard";
    /// In a batch, within a day.
    Batch = 1, "batch";
    /// When there is room.
    Flex = 2, "flex";
    /// Before others.
    Priority = 3, "priority";
    /// By a faster configuration of the model.
    Fast = 4, "fast";
    /// By the fastest one.
    Ultrafast = 5, "ultrafast";
    /// In a region that was asked for, and not wherever there is room.
    Regional = 6, "regional";
    /// In a batch, in such a region.
    BatchRegional = 7, "batch_regional";
    /// When there is room, in such a region.
    FlexRegional = 8, "flex_regional";
    /// Before others, in such a region.
    PriorityRegional = 9, "priority_regional";
    /// By a faster configuration of the model, in such a region.
    FastRegional = 10, "fast_regional";
    /// By the fastest one, in such a region.
    UltrafastRegional = 11, "ultrafast_regional";
}

impl ServiceTier {
    /// The tier with this number; `None` for one that only a later version knows.
    #[must_use]
    pub fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.code() == code)
    }

    /// The tier with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }

    /// The same in a region that was asked for.
    #[must_use]
    pub const fn in_region(self) -> Self {
        match self {
            Self::Standard | Self::Regional => Self::Regional,
            Self::Batch | Self::BatchRegional => Self::BatchRegional,
            Self::Flex | Self::FlexRegional => Self::FlexRegional,
            Self::Priority | Self::PriorityRegional => Self::PriorityRegional,
            Self::Fast | Self::FastRegional => Self::FastRegional,
            Self::Ultrafast | Self::UltrafastRegional => Self::UltrafastRegional,
        }
    }

    /// The same anywhere, of one in a region.
    #[must_use]
    pub const fn anywhere(self) -> Self {
        match self {
            Self::Regional => Self::Standard,
            Self::BatchRegional => Self::Batch,
            Self::FlexRegional => Self::Flex,
            Self::PriorityRegional => Self::Priority,
            Self::FastRegional => Self::Fast,
            Self::UltrafastRegional => Self::Ultrafast,
            Self::Standard | Self::Batch | Self::Flex | Self::Priority | Self::Fast | Self::Ultrafast => self,
        }
    }
}

//! Between the generated `Guest` traits, which are functions without a `self`, and the traits that authors implement.

use std::cell::RefCell;
use std::io::Write as _;
use std::marker::PhantomData;
use std::thread::LocalKey;

use crate::adapter::{self, Adapter, Answer};
use crate::bindings::provider_adapter::exports::tollgate::plugin::adapter as wit_adapter;
use crate::bindings::provider_adapter::tollgate::plugin::types as wit;
use crate::bindings::{content_filter, key_selector, pricing_policy, provider_adapter};
use crate::filtering::{self, ContentFilter};
use crate::key_selection::{self, KeySelector};
use crate::pricing::{self, Pricing};
use crate::types::{Operation, Protocol};

/// Where a component keeps what `configure` made.
pub type Slot<T> = LocalKey<RefCell<Option<T>>>;

/// A type for which an export macro has made a place.
pub trait Placed: Sized + 'static {
    /// That place.
    const SLOT: &'static Slot<Self>;
}

/// The component that exports `T`.
#[derive(Debug)]
pub struct Component<T>(PhantomData<T>);

impl<T: Placed> Component<T> {
    fn configure<Plan>(
        make: impl FnOnce(&str) -> Result<T, String>,
        config: &str,
        plan: impl FnOnce(&T) -> Plan,
    ) -> Result<Plan, String> {
        explain_panics();
        let plugin = make(config)?;
        let answer = plan(&plugin);
        T::SLOT.set(Some(plugin));
        Ok(answer)
    }

    /// # Panics
    /// When the gateway has not configured the component, which is a fault that it must see.
    fn call<Answer>(work: impl FnOnce(&T) -> Answer) -> Answer {
        T::SLOT.with_borrow(|plugin| work(plugin.as_ref().expect("configure comes before every other call")))
    }
}

impl<T: Adapter + Placed> provider_adapter::exports::tollgate::plugin::adapter::Guest for Component<T> {
    fn configure(config: String) -> Result<adapter::Plan, String> {
        Self::configure(T::configure, &config, T::plan)
    }

    fn read_usage(protocol: Protocol, operation: Operation, samples: Vec<u8>) -> wit::Usage {
        Self::call(|plugin| plugin.read_usage(protocol, operation, &samples)).into()
    }

    fn classify(refusal: adapter::Refusal) -> adapter::Failure {
        Self::call(|plugin| plugin.classify(&refusal))
    }

    fn translate_request(
        exchange: adapter::Exchange,
        body: Vec<u8>,
    ) -> Result<wit_adapter::Translated, adapter::Reply> {
        // What the last exchange left is dropped first: the two need not fit into memory together.
        ANSWER.take();
        let adapter::Translated { body, left_out, answer } =
            Self::call(|plugin| plugin.translate(&exchange, &body))?;
        ANSWER.set(Some(answer));
        Ok(wit_adapter::Translated { body, left_out })
    }

    fn translate_answer(body: Vec<u8>) -> Result<Vec<u8>, String> {
        under_way(|answer| answer.whole(&body))
    }

    fn translate_failure(status: u16, body: Vec<u8>) -> adapter::Reply {
        under_way(|answer| answer.failure(status, &body))
    }

    fn translate_part(bytes: Vec<u8>) -> Vec<u8> {
        under_way(|answer| answer.part(&bytes))
    }

    fn translate_end() -> Vec<u8> {
        under_way(|answer| answer.end())
    }
}

thread_local! {
    /// The exchange that the instance serves.
    static ANSWER: RefCell<Option<Box<dyn Answer>>> = const { RefCell::new(None) };
}

/// # Panics
/// When the gateway has not begun an exchange, which is a fault that it must see.
fn under_way<R>(work: impl FnOnce(&mut (dyn Answer + 'static)) -> R) -> R {
    ANSWER.with_borrow_mut(|answer| {
        work(
            answer.as_mut().expect("translate-request comes before every other call of an exchange").as_mut(),
        )
    })
}

impl<T: KeySelector + Placed> key_selector::exports::tollgate::plugin::key_selection::Guest for Component<T> {
    fn configure(config: String) -> Result<(), String> {
        Self::configure(T::configure, &config, |_| ())
    }

    fn select(request: key_selection::Request, candidates: Vec<key_selection::Candidate>) -> Option<u32> {
        Self::call(|plugin| plugin.select(request, &candidates))
    }
}

impl<T: Pricing + Placed> pricing_policy::exports::tollgate::plugin::pricing::Guest for Component<T> {
    fn configure(config: String) -> Result<pricing::Plan, String> {
        Self::configure(T::configure, &config, T::plan)
    }

    fn hold(quote: pricing::Quote) -> i64 {
        Self::call(|plugin| plugin.hold(quote))
    }

    fn settle(bill: pricing::Bill) -> pricing::Charge {
        Self::call(|plugin| plugin.settle(bill))
    }
}

impl<T: ContentFilter + Placed> content_filter::exports::tollgate::plugin::filtering::Guest for Component<T> {
    fn configure(config: String) -> Result<filtering::Plan, String> {
        Self::configure(T::configure, &config, T::plan)
    }

    fn inspect(
        direction: filtering::Direction,
        text: String,
        matches: Vec<filtering::Found>,
    ) -> filtering::Verdict {
        Self::call(|plugin| plugin.inspect(direction, &text, &matches))
    }
}

/// Makes a panic write one line to standard error that says where it happened: the gateway logs that line and names it
/// as the cause of the trap that follows. The standard library's own message ends with a note on backtraces, which do
/// not exist here.
fn explain_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let (file, line) = panic.location().map_or(("", 0), |location| (location.file(), location.line()));
        let text = format!("panicked at {file}:{line}: {message}\n");
        // A failure to write cannot be reported anywhere.
        let _unwritten = std::io::stderr().write_all(text.as_bytes());
    }));
}

/// Exports `$plugin` in a component; elsewhere only checks that it could be.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_component {
    ($plugin:ty, $kind:path, $export:ident, $world:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static SLOT: ::std::cell::RefCell<::std::option::Option<$plugin>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }
            impl $crate::component::Placed for $plugin {
                const SLOT: &'static $crate::component::Slot<Self> = &SLOT;
            }
            type Exported = $crate::component::Component<$plugin>;
    $crate::bindings::$world::$export!(Exported with_types_in $crate::bindings::$world);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn fits<Plugin: $kind>() {}
            fits::<$plugin>();
        };
    };
}

//! What the four worlds have in common, so that instances are made, kept and called by one piece of code with static
//! types.

use wasmtime::component::InstancePre;
use wasmtime::{Result, Store};

use crate::binding::Kind;
use crate::bindings::adapter_world::{ProviderAdapter, ProviderAdapterPre};
use crate::bindings::filter_world::{ContentFilter, ContentFilterPre};
use crate::bindings::selector_world::{KeySelector, KeySelectorPre};
use crate::plan::adapter::AdapterPlan;
use crate::plan::policy::FilterPlan;
use crate::state::State;

/// The typed exports of one instance.
pub(crate) trait World: Sized + Send + 'static {
    /// What bindings call it.
    const KIND: Kind;
    /// A linked component whose exports have the right types.
    type Pre: Clone + Send + Sync;
    /// What `configure` answers.
    type Plan;

    /// Checks the exports.
    fn check(pre: InstancePre<State>) -> Result<Self::Pre>;
    /// Makes an instance.
    fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> Result<Self>;
    /// Calls `configure`.
    fn configure(&self, store: &mut Store<State>, config: &str) -> Result<Result<Self::Plan, String>>;
}

macro_rules! world {
    ($world:ident, $pre:ident, $kind:ident, $interface:ident, $plan:ty) => {
        impl World for $world {
            const KIND: Kind = Kind::$kind;
            type Pre = $pre<State>;
            type Plan = $plan;

            fn check(pre: InstancePre<State>) -> Result<Self::Pre> {
                $pre::new(pre)
            }

            fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> Result<Self> {
                pre.instantiate(store)
            }

            fn configure(
                &self,
                store: &mut Store<State>,
                config: &str,
            ) -> Result<Result<Self::Plan, String>> {
                Ok(self.$interface().call_configure(store, config)?.map(Into::into))
            }
        }
    };
}

world!(ProviderAdapter, ProviderAdapterPre, ProviderAdapter, tollgate_plugin_adapter, AdapterPlan);
world!(KeySelector, KeySelectorPre, KeySelector, tollgate_plugin_key_selection, ());
world!(ContentFilter, ContentFilterPre, ContentFilter, tollgate_plugin_filtering, FilterPlan);

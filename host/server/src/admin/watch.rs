//! What changes by itself: how provider keys are, what happens to components, what became of the configuration file. It
//! is looked at once a second for each viewer, and what differs is told, so that nothing that serves requests has to
//! tell anything, and the end of a rest, which nobody causes, is told like its beginning.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tollgate_core::id::{CredentialId, UserId};

use super::Admin;
use super::ask::Ask;
use super::configuration::{self, Configuration};
use super::credentials::state;
use super::error::Problem;
use super::events::{Events, Source, event};
use super::plugin_events::{self, PluginEvent};
use crate::clock::now;
use crate::manage::{Management, Window};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);
/// Changes of provider keys that are told of one look, and events of components.
const CHANGES_MAX: usize = 500;
const EVENTS_MAX: usize = 50;

/// How a provider key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct State {
    credential: String,
    provider: String,
    state: &'static str,
    reason: Option<&'static str>,
    until_ms: Option<u64>,
}

/// `GET /management/v1/events`
pub(super) async fn watch(ask: Ask) -> Result<Events, Problem> {
    let caller = &ask.caller;
    let whose = caller.actor.scope()?;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (admin, management) = (Arc::clone(&caller.admin), caller.management.clone());
    let known = Known::default();
    Events::of(&caller.admin, &caller.actor, Watch { admin, management, whose, look, known })
}

struct Watch {
    admin: Arc<Admin>,
    management: Management,
    /// Whose provider keys: `None` for everyone's, and for what is no user's.
    whose: Option<UserId>,
    look: Interval,
    known: Known,
}

/// What was told last.
#[derive(Default)]
struct Known {
    credentials: BTreeMap<CredentialId, State>,
    /// The last event of a component; `None` before the first look.
    event: Option<u64>,
    generation: Option<u64>,
    configuration: Option<Configuration>,
}

impl Source for Watch {
    type News = ();

    async fn wait(&mut self) -> Option<()> {
        self.look.tick().await;
        Some(())
    }

    async fn write(&mut self, text: &mut Vec<u8>, (): ()) -> bool {
        self.credentials(text);
        if self.whose.is_some() {
            return true;
        }
        self.settings(text);
        match self.components(text).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(?error, "a stream of events ends");
                false
            }
        }
    }
}

impl Watch {
    /// Tells of provider keys that are in another state than before, and of those that serve no more: they were
    /// switched off, or removed.
    fn credentials(&mut self, text: &mut Vec<u8>) {
        let (directory, at) = (self.admin.shared.directory.load(), now());
        let whose = self.whose;
        let mine = |id| whose.is_none_or(|user| directory.owners.get(id) == Some(&user));
        let mut gone = std::mem::take(&mut self.known.credentials);
        let (mut told, mut untold) = (0, 0);
        for credential in directory.all().filter(|credential| mine(&credential.id)) {
            let health = credential.live.health();
            let (state, reason, until_ms) = state(true, Some(health.standing(at)), health.in_flight(at), at);
            let (id, provider) = (credential.id.to_string(), credential.provider.clone());
            let is = State { credential: id, provider, state, reason, until_ms };
            let was = gone.remove(&credential.id);
            if was.as_ref().is_none_or(|was| differs(was, &is)) {
                if told == CHANGES_MAX {
                    // It is told with the next look.
                    untold += 1;
                    self.known.credentials.extend(was.map(|was| (credential.id, was)));
                    continue;
                }
                told += 1;
                event(text, "credential", &is);
            }
            self.known.credentials.insert(credential.id, is);
        }
        for id in gone.keys() {
            event(text, "credential_gone", &json!({"credential": id.to_string()}));
        }
        if untold > 0 {
            event(text, "skipped", &json!({"credentials": untold}));
        }
    }

    /// Tells of another set of components, and of what became of the file.
    fn settings(&mut self, text: &mut Vec<u8>) {
        let shared = &self.admin.shared;
        let generation = shared.runtime.current().id();
        if self.known.generation.replace(generation) != Some(generation) {
            event(text, "generation", &json!({"generation": generation}));
        }
        let file = configuration::shown(&shared.configuration);
        if self.known.configuration.as_ref() != Some(&file) {
            event(text, "configuration", &file);
            self.known.configuration = Some(file);
        }
    }

    /// Tells of what happened to components since the last look; of nothing that was before the first.
    async fn components(&mut self, text: &mut Vec<u8>) -> Result<(), Problem> {
        let page = self.management.plugin_events(Window::first(EVENTS_MAX)).await?;
        let last = page.rows.first().map_or(0, |(number, _)| *number);
        if let Some(known) = self.known.event.replace(last) {
            let fresh = page.rows.into_iter().filter(|(number, _)| *number > known);
            let mut fresh: Vec<PluginEvent> = fresh.map(plugin_events::shown).collect();
            fresh.reverse();
            fresh.iter().for_each(|fresh| event(text, "component", fresh));
        }
        Ok(())
    }
}

/// Whether a state is another one. The end of a rest is told once: what is left of it is reckoned anew at each look.
fn differs(was: &State, is: &State) -> bool {
    let close = |one: u64, other: u64| one.abs_diff(other) < 1000;
    let until = match (was.until_ms, is.until_ms) {
        (Some(one), Some(other)) => !close(one, other),
        (one, other) => one != other,
    };
    until || (was.state, was.reason) != (is.state, is.reason)
}

//! Who serves which model, prepared for lookups: the entries of the configuration file, then those that were made while
//! the gateway ran. Compiled once for all workers, whenever either changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_core::id::CredentialId;
use tollgate_core::names::{self, NameIndex};
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;

use crate::config::{self, Model};
use crate::config::{BaseUrl, Config, Grants, Providers};
use crate::state::credentials::Credential;

/// What requests ask about upstreams: replaced as a whole.
#[derive(Debug)]
pub(crate) struct Upstreams {
    /// Providers by name.
    pub(crate) providers: Providers,
    /// The file's entries.
    pub(crate) models: Vec<Model>,
    /// Those of the database, in the order in which they are looked at.
    pub(crate) stored: Vec<Model>,
    /// Both, compiled.
    pub(crate) routes: ModelRoutes,
    /// Whether the content filter looks at texts as a person reads them, too.
    pub(crate) folds: bool,
    /// Goes into the hashes of texts that the content filter refuses.
    pub(crate) text_key: Arc<Secret>,
    /// Where components may send keys: by the file, and by the database.
    pub(crate) grants: Arc<Grants>,
    /// By the file alone.
    of_file: Grants,
    /// By the database alone.
    granted: Grants,
}

impl Upstreams {
    /// What the file says, with the routes, the grants and the key for texts of the database.
    pub(crate) fn new(
        config: &Config,
        stored: Vec<Model>,
        granted: &Grants,
        text_key: Arc<Secret>,
    ) -> Arc<Self> {
        let (providers, models) = (config.providers.clone(), config.models.clone());
        let folds = config.content_filter.fold;
        let of_file = config.plugins.grants.clone();
        Self { of_file, folds, text_key, ..Self::of(providers, models, stored) }.granting(granted)
    }

    /// Where components may send keys by the file alone.
    pub(crate) const fn granted_by_file(&self) -> &Grants {
        &self.of_file
    }

    /// The same after a change of the file.
    pub(crate) fn by_file(&self, config: &Config) -> Arc<Self> {
        Self::new(config, self.stored.clone(), &self.granted, Arc::clone(&self.text_key))
    }

    /// The same with other grants of the database; `None` where nothing differs.
    pub(crate) fn with_granted(&self, granted: &Grants) -> Option<Arc<Self>> {
        (*granted != self.granted).then(|| self.again(self.stored.clone()).granting(granted))
    }

    /// The same with other routes of the database; `None` where nothing differs.
    pub(crate) fn with_stored(&self, mut stored: Vec<Model>) -> Option<Arc<Self>> {
        by_precision(&mut stored);
        (stored != self.stored).then(|| self.again(stored).granting(&self.granted))
    }

    fn again(&self, stored: Vec<Model>) -> Self {
        let made = Self::of(self.providers.clone(), self.models.clone(), stored);
        Self {
            of_file: self.of_file.clone(),
            folds: self.folds,
            text_key: Arc::clone(&self.text_key),
            ..made
        }
    }

    fn granting(self, granted: &Grants) -> Arc<Self> {
        let grants = Arc::new(self.of_file.and(granted));
        Arc::new(Self { grants, granted: granted.clone(), ..self })
    }

    /// The name of the file's entry that serves all that `name` may stand for, where one does.
    pub(crate) fn of_file(&self, name: &str) -> Option<&str> {
        // A star in the name is a character that only a star can match.
        let names = || self.models.iter().flat_map(Model::names);
        let found = NameIndex::new(names().zip(0..)).find(name)?;
        names().nth(found.at)
    }

    fn of(providers: Providers, models: Vec<Model>, mut stored: Vec<Model>) -> Self {
        by_precision(&mut stored);
        let routes = ModelRoutes::new(models.iter().chain(&stored));
        let (grants, of_file, granted) = (Arc::default(), Grants::default(), Grants::default());
        let text_key = Arc::new(Secret::new(String::new()));
        Self { providers, models, stored, routes, folds: true, text_key, grants, of_file, granted }
    }
}

/// Exact names before patterns, longer patterns before shorter ones, so that a new route does not depend on the order
/// of the others.
fn by_precision(models: &mut [Model]) {
    models.sort_by_cached_key(|model| {
        let stars = model.name.matches('*').count();
        (stars > 0, usize::MAX - (model.name.len() - stars), model.name.clone())
    });
}

/// All entries, prepared.
#[derive(Debug, Default)]
pub(crate) struct ModelRoutes {
    names: NameIndex,
    /// The route of each name's place in `names`.
    of_name: Vec<usize>,
    /// Names without a star, which can be listed.
    listed: Vec<Box<str>>,
    routes: Vec<Route>,
    sites: Vec<Site>,
    reserved: Reserved,
}

/// Where an entry leads.
#[derive(Debug)]
pub(crate) struct Route {
    /// By priority.
    pub(crate) groups: Vec<PriorityGroup>,
    /// Models that stand in when all targets have failed.
    pub(crate) fallbacks: Vec<Arc<str>>,
}

/// Targets of one priority.
#[derive(Debug)]
pub(crate) struct PriorityGroup {
    /// One at least.
    pub(crate) targets: Vec<RouteTarget>,
    turns: AtomicU64,
}

impl PriorityGroup {
    /// The number of the next request.
    pub(crate) fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }
}

/// A target of a model.
#[derive(Debug)]
pub(crate) struct RouteTarget {
    /// The place of its site.
    pub(crate) site: usize,
    /// The model's name there.
    model: Option<Name>,
    /// Share among its group.
    pub(crate) weight: u32,
    /// The only credentials that serve it, if it has such.
    only: Option<Reserved>,
}

/// A provider's name of a model.
#[derive(Debug)]
enum Name {
    Plain(Arc<str>),
    /// With what the client's star stands for in the middle.
    Around(Box<str>, Box<str>),
}

impl RouteTarget {
    /// The model's name there, where it is another than the client's.
    pub(crate) fn model(&self, star: Option<&str>) -> Option<Arc<str>> {
        match self.model.as_ref()? {
            Name::Plain(name) => Some(Arc::clone(name)),
            Name::Around(before, after) => Some([before, star.unwrap_or(""), after].concat().into()),
        }
    }

    /// Whether a credential is among those set aside for it; `None` where none are.
    pub(crate) fn owns(&self, credential: &Credential) -> Option<bool> {
        self.only.as_ref().map(|only| only.holds(credential))
    }
}

/// A provider, or the same one elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// Its name.
    pub(crate) provider: Box<str>,
    /// Where it is, if not where its configuration says.
    pub(crate) base_url: Option<BaseUrl>,
}

/// Platform credentials that are set aside, by what an entry calls them.
#[derive(Debug, Default)]
struct Reserved {
    ids: HashSet<CredentialId>,
    labels: HashSet<Box<str>>,
}

impl Reserved {
    fn take(&mut self, names: &[String]) {
        for name in names {
            match name.parse() {
                Ok(id) => drop(self.ids.insert(id)),
                Err(_) => drop(self.labels.insert(name.as_str().into())),
            }
        }
    }

    /// A user's own credential is never set aside, lent or not: its label is the user's.
    fn holds(&self, credential: &Credential) -> bool {
        credential.owner == Owner::Platform
            && (self.ids.contains(&credential.id) || self.labels.contains(&*credential.label))
    }

    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.labels.is_empty()
    }
}

impl ModelRoutes {
    fn new<'m>(models: impl Iterator<Item = &'m Model>) -> Self {
        let mut made = Self::default();
        let mut names = Vec::new();
        let mut sites = HashMap::new();
        for (route, model) in models.enumerate() {
            for name in model.names() {
                names.push((name, made.of_name.len()));
                made.of_name.push(route);
                if !name.contains('*') {
                    made.listed.push(name.into());
                }
            }
            let built = made.route(model, &mut sites);
            made.routes.push(built);
        }
        made.names = NameIndex::new(names);
        made
    }

    fn route(&mut self, model: &Model, sites: &mut HashMap<(String, String), usize>) -> Route {
        let mut entries: Vec<&config::Target> = model.targets.iter().collect();
        entries.sort_by_key(|target| target.priority);
        let groups = entries.chunk_by(|a, b| a.priority == b.priority).map(|group| PriorityGroup {
            targets: group.iter().map(|target| self.target(target, sites)).collect(),
            turns: AtomicU64::new(0),
        });
        let groups = groups.collect();
        Route { groups, fallbacks: model.fallbacks.iter().map(|name| name.as_str().into()).collect() }
    }

    fn target(
        &mut self,
        target: &config::Target,
        sites: &mut HashMap<(String, String), usize>,
    ) -> RouteTarget {
        let config::Target { provider, model, base_url, credentials, weight, .. } = target;
        let elsewhere = base_url.clone().map(String::from).unwrap_or_default();
        let site = *sites.entry((provider.clone(), elsewhere)).or_insert_with(|| {
            self.sites.push(Site { provider: provider.as_str().into(), base_url: base_url.clone() });
            self.sites.len() - 1
        });
        let model = model.as_deref().map(|model| match model.split_once('*') {
            Some((before, after)) => Name::Around(before.into(), after.into()),
            None => Name::Plain(model.into()),
        });
        self.reserved.take(credentials);
        let only = (!credentials.is_empty()).then(|| {
            let mut only = Reserved::default();
            only.take(credentials);
            only
        });
        RouteTarget { site, model, weight: *weight, only }
    }

    /// The first entry that matches, and what its star stands for.
    pub(crate) fn find<'n>(&self, model: &'n str) -> Option<(&Route, Option<&'n str>)> {
        let names::NameMatch { at, star } = self.names.find(model)?;
        Some((self.routes.get(*self.of_name.get(at)?)?, star))
    }

    /// Names without a star.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(|name| &**name)
    }

    /// Where targets are.
    pub(crate) fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Whether a credential is set aside for some target.
    pub(crate) fn reserves(&self, credential: &Credential) -> bool {
        !self.reserved.is_empty() && self.reserved.holds(credential)
    }
}

#[cfg(test)]
mod tests {
    use super::{Model, ModelRoutes, by_precision};
    use crate::config::Target;

    fn entry(name: &str, provider: &str, model: Option<&str>) -> Model {
        Model {
            name: name.to_owned(),
            aliases: Vec::new(),
            targets: vec![Target::new(provider, model)],
            fallbacks: Vec::new(),
        }
    }

    #[test]
    fn an_alias_leads_where_the_name_does_and_both_are_listed() {
        let mut model = entry("fast", "p", Some("x"));
        model.aliases = vec!["quick".to_owned(), "quick-*".to_owned()];
        let routes = ModelRoutes::new([model].iter());
        for name in ["fast", "quick", "quick-2"] {
            let (route, _) = routes.find(name).unwrap();
            assert_eq!(route.groups[0].targets[0].model(None).as_deref(), Some("x"), "{name}");
        }
        assert_eq!(routes.listed().collect::<Vec<_>>(), ["fast", "quick"]);
    }

    #[test]
    fn targets_stand_by_priority_and_share_their_sites() {
        let mut model = entry("m", "b", None);
        model.targets[0].priority = 2;
        model.targets.extend([Target::new("a", None), Target::new("b", None), Target::new("a", Some("y"))]);
        let routes = ModelRoutes::new([model].iter());
        let (route, _) = routes.find("m").unwrap();
        let groups: Vec<Vec<&str>> = route
            .groups
            .iter()
            .map(|group| group.targets.iter().map(|target| &*routes.sites()[target.site].provider).collect())
            .collect();
        assert_eq!(groups, [vec!["a", "b", "a"], vec!["b"]]);
        assert_eq!(routes.sites().len(), 2);
    }

    #[test]
    fn a_star_goes_over_into_the_providers_name() {
        let routes = ModelRoutes::new([entry("near/*", "p", Some("far-*-1"))].iter());
        let (route, star) = routes.find("near/gpt").unwrap();
        assert_eq!(route.groups[0].targets[0].model(star).as_deref(), Some("far-gpt-1"));
    }

    #[test]
    fn of_routes_that_were_added_in_any_order_the_most_precise_counts() {
        let mut models: Vec<Model> =
            ["*", "gpt-*", "gpt-4o", "gpt-4*", "gpt-4*-mini"].map(|name| entry(name, name, None)).to_vec();
        by_precision(&mut models);
        let routes = ModelRoutes::new(models.iter());
        let check = |name: &str, expected: &str| {
            let (route, _) = routes.find(name).unwrap();
            assert_eq!(&*routes.sites()[route.groups[0].targets[0].site].provider, expected, "{name}");
        };
        check("gpt-4o", "gpt-4o");
        check("gpt-4x-mini", "gpt-4*-mini");
        check("gpt-4x", "gpt-4*");
        check("gpt-5", "gpt-*");
        check("claude", "*");
    }
}

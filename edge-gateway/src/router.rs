//! Which binding a request means: one tree over the path segments of all bindings.
//!
//! A literal beats `*`, and `*` beats `**`; when the better branch leads nowhere for the request's method, the next one is
//! tried. `:verb` counts as a verb only if some binding has it, else it belongs to the last segment.

use std::collections::{BTreeSet, HashMap};

use http::Method;

use crate::template::{Segment, Template, percent_decode};

/// More segments than this match nothing.
const MAX_SEGMENTS: usize = 64;

/// All bindings, each with a `T`.
#[derive(Debug)]
pub struct Router<T> {
    root: Node,
    routes: Vec<Route<T>>,
    verbs: BTreeSet<String>,
}

#[derive(Debug)]
struct Route<T> {
    method: Method,
    template: Template,
    value: T,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    one: Option<Box<Node>>,
    /// Bindings that end here.
    ends: Ends,
    /// Bindings that end here with `**`.
    rest: Ends,
}

/// Bindings at one place, by verb (empty: none) and method.
type Ends = HashMap<String, Vec<(Method, usize)>>;

/// What a request's method and path mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r, T> {
    /// This binding, with its template and the values of the template's variables.
    Route(&'r T, &'r Template, Vec<String>),
    /// There is such a path, but only for these methods.
    OtherMethods(Vec<Method>),
    /// There is no such path.
    Nothing,
    /// The path has a malformed percent escape.
    Malformed,
}

/// Two bindings that mean the same requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<'r, T>(pub &'r T);

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { root: Node::default(), routes: Vec::new(), verbs: BTreeSet::new() }
    }
}

impl<T> Router<T> {
    /// Adds a binding.
    ///
    /// # Errors
    /// A binding that means exactly the same requests is there already.
    pub fn insert(&mut self, method: Method, template: Template, value: T) -> Result<(), Taken<'_, T>> {
        let mut node = &mut self.root;
        for segment in &template.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::One => node.one.get_or_insert_default(),
                Segment::Rest => break,
            };
        }
        let ends = if template.segments.last() == Some(&Segment::Rest) { &mut node.rest } else { &mut node.ends };
        let ends = ends.entry(template.verb.clone().unwrap_or_default()).or_default();
        if let Some((_, taken)) = ends.iter().find(|(taken, _)| *taken == method) {
            return Err(Taken(&self.routes[*taken].value));
        }
        ends.push((method.clone(), self.routes.len()));
        self.verbs.extend(template.verb.clone());
        self.routes.push(Route { method, template, value });
        Ok(())
    }

    /// Every binding, in the order in which they were added.
    pub fn routes(&self) -> impl Iterator<Item = (&Method, &Template, &T)> {
        self.routes.iter().map(|route| (&route.method, &route.template, &route.value))
    }

    /// The bindings that no request can reach: `/a/**` next to `/a` and `/a/*/**`, which leave it nothing.
    pub fn unreachable(&self) -> Vec<&T> {
        let mut found = Vec::new();
        self.root.visit(&mut |node| {
            for (verb, ends) in &node.rest {
                let has = |ends: Option<&Ends>, method: &Method| {
                    ends.and_then(|ends| ends.get(verb)).is_some_and(|ends| ends.iter().any(|(m, _)| m == method))
                };
                for (method, route) in ends {
                    if has(Some(&node.ends), method) && has(node.one.as_ref().map(|one| &one.rest), method) {
                        found.push(&self.routes[*route].value);
                    }
                }
            }
        });
        found
    }

    /// Every binding of the raw path but for its verb, whatever its method and verb.
    pub fn at(&self, path: &str) -> Vec<(&Method, &Template, &T)> {
        let segments: Vec<&str> = path.strip_prefix('/').into_iter().flat_map(|path| path.split('/')).collect();
        let Some(decoded) = decode(&segments).filter(|segments| (1..=MAX_SEGMENTS).contains(&segments.len())) else {
            return Vec::new();
        };
        let mut nodes = vec![&self.root];
        for segment in &decoded {
            let mut next = Vec::new();
            for node in nodes {
                next.extend(node.literals.get(segment));
                next.extend(node.one.as_deref().filter(|_| !segment.is_empty()));
            }
            nodes = next;
        }
        let routes = nodes.iter().flat_map(|node| node.ends.values().flatten()).map(|(_, at)| &self.routes[*at]);
        routes.map(|route| (&route.method, &route.template, &route.value)).collect()
    }

    /// What `method` on the raw, undecoded `path` means. HEAD is answered by GET's binding.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_, T> {
        let Some(path) = path.strip_prefix('/') else { return Found::Nothing };
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let mut segments: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        if segments.len() > MAX_SEGMENTS {
            return Found::Nothing;
        }
        let last = segments.last().copied().unwrap_or_default();
        let mut allowed = BTreeSet::new();
        // The longest verb first, and none at last: then the colon belongs to the segment.
        let colons = last.match_indices(':').map(|(at, _)| (&last[..at], &last[at + 1..]));
        for (end, verb) in colons.filter(|(_, verb)| self.verbs.contains(*verb)).chain([(last, "")]) {
            if let Some(slot) = segments.last_mut() {
                *slot = end;
            }
            let Some(decoded) = decode(&segments) else { return Found::Malformed };
            let mut search = Search { method, verb, allowed: &mut allowed };
            if let Some(index) = search.walk(&self.root, &decoded) {
                let route = &self.routes[index];
                return match route.template.capture(&segments) {
                    Some(values) => Found::Route(&route.value, &route.template, values),
                    None => Found::Malformed,
                };
            }
        }
        if allowed.is_empty() {
            return Found::Nothing;
        }
        let mut methods: Vec<Method> = allowed.iter().filter_map(|name| name.parse().ok()).collect();
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        Found::OtherMethods(methods)
    }
}

fn decode(segments: &[&str]) -> Option<Vec<String>> {
    segments.iter().map(|segment| percent_decode(segment, false)).collect()
}

impl Node {
    fn visit<'n>(&'n self, each: &mut impl FnMut(&'n Node)) {
        each(self);
        for child in self.literals.values().chain(self.one.as_deref()) {
            child.visit(each);
        }
    }
}

struct Search<'s> {
    method: &'s Method,
    verb: &'s str,
    /// Methods that the path would have.
    allowed: &'s mut BTreeSet<String>,
}

impl Search<'_> {
    fn walk(&mut self, node: &Node, path: &[String]) -> Option<usize> {
        let found = match path.split_first() {
            None => self.end(&node.ends),
            Some((first, rest)) => {
                let literal = node.literals.get(first).and_then(|child| self.walk(child, rest));
                literal.or_else(|| {
                    let one = node.one.as_ref().filter(|_| !first.is_empty())?;
                    self.walk(one, rest)
                })
            }
        };
        found.or_else(|| self.end(&node.rest))
    }

    fn end(&mut self, ends: &Ends) -> Option<usize> {
        let ends = ends.get(self.verb)?;
        self.allowed.extend(ends.iter().map(|(method, _)| method.to_string()));
        ends.iter().find(|(method, _)| method == self.method).map(|(_, route)| *route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(bindings: &[(&str, &'static str)]) -> Router<&'static str> {
        let mut router = Router::default();
        for (method, template) in bindings {
            router.insert(method.parse().unwrap(), Template::parse(template).unwrap(), *template).unwrap();
        }
        router
    }

    fn show(found: Found<'_, &'static str>) -> String {
        match found {
            Found::Route(template, _, values) => format!("{template} {values:?}"),
            Found::OtherMethods(methods) => format!("only {methods:?}"),
            Found::Nothing => "nothing".to_owned(),
            Found::Malformed => "malformed".to_owned(),
        }
    }

    #[test]
    fn a_request_finds_its_binding() {
        let router = router(&[
            ("GET", "/v1/orders"),
            ("POST", "/v1/orders"),
            ("GET", "/v1/orders/{id}"),
            ("POST", "/v1/orders/{id}:cancel"),
            ("POST", "/v1/orders/{id}:a:b"),
            ("GET", "/v1/orders/special"),
            ("DELETE", "/v1/{name=orders/*}"),
            ("GET", "/v1/{name=files/**}"),
            ("GET", "/v1/{name=files/**}:purge"),
            ("GET", "/v1/orders/{id}/{rest=**}"),
        ]);
        for (method, path, expected) in [
            ("GET", "/v1/orders", "/v1/orders []"),
            ("HEAD", "/v1/orders", "/v1/orders []"),
            ("PUT", "/v1/orders", "only [GET, POST, HEAD]"),
            ("GET", "/v1/orders/x", r#"/v1/orders/{id} ["x"]"#),
            ("GET", "/v1/orders/special", "/v1/orders/special []"),
            ("GET", "/v1/orders/speci%61l", "/v1/orders/special []"),
            ("DELETE", "/v1/orders/special", r#"/v1/{name=orders/*} ["orders/special"]"#),
            ("POST", "/v1/orders/x:cancel", r#"/v1/orders/{id}:cancel ["x"]"#),
            ("POST", "/v1/orders/x:a:b", r#"/v1/orders/{id}:a:b ["x"]"#),
            ("GET", "/v1/orders/x:cancel", r#"/v1/orders/{id} ["x:cancel"]"#),
            ("GET", "/v1/orders/x:unknown", r#"/v1/orders/{id} ["x:unknown"]"#),
            ("GET", "/v1/orders/12:30:00", r#"/v1/orders/{id} ["12:30:00"]"#),
            ("GET", "/v1/orders/a/b/c", r#"/v1/orders/{id}/{rest=**} ["a", "b/c"]"#),
            ("GET", "/v1/files", r#"/v1/{name=files/**} ["files"]"#),
            ("GET", "/v1/files/a/b", r#"/v1/{name=files/**} ["files/a/b"]"#),
            ("GET", "/v1/files/a:purge", r#"/v1/{name=files/**}:purge ["files/a"]"#),
            ("GET", "/v1/orders/", "nothing"),
            ("GET", "/v1//orders", "nothing"),
            ("GET", "/v1/orders/x%2", "malformed"),
            ("GET", "/v2/orders", "nothing"),
            ("GET", "/V1/orders", "nothing"),
            ("GET", "*", "nothing"),
            ("GET", "/v1/orders/a%2Fb", r#"/v1/orders/{id} ["a/b"]"#),
        ] {
            assert_eq!(show(router.find(&method.parse().unwrap(), path)), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_path_has_the_bindings_of_every_method_and_verb() {
        let router = router(&[
            ("GET", "/v1/orders/{id}"),
            ("POST", "/v1/orders/{id}:cancel"),
            ("GET", "/v1/orders/special"),
            ("GET", "/v1/orders"),
            ("GET", "/v1/{name=files/**}"),
        ]);
        for (path, expected) in [
            ("/v1/orders/x", &["/v1/orders/{id}", "/v1/orders/{id}:cancel"][..]),
            ("/v1/orders/special", &["/v1/orders/special", "/v1/orders/{id}", "/v1/orders/{id}:cancel"]),
            ("/v1/orders", &["/v1/orders"]),
            ("/v1/orders/", &[]),
            ("/v1/nothing/x", &[]),
            ("/v1/orders/%2", &[]),
            ("", &[]),
        ] {
            let mut found: Vec<&str> = router.at(path).into_iter().map(|(_, _, value)| *value).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_binding_that_means_the_same_requests_is_refused() {
        let mut router = router(&[("GET", "/v1/{id}")]);
        let same = Template::parse("/v1/{name=*}").unwrap();
        assert_eq!(router.insert(Method::GET, same.clone(), "same"), Err(Taken(&"/v1/{id}")));
        assert_eq!(router.insert(Method::POST, same, "other method"), Ok(()));
        assert_eq!(router.insert(Method::GET, Template::parse("/v1/{id}:go").unwrap(), "verb"), Ok(()));
    }

    #[test]
    fn a_binding_that_others_leave_nothing_is_unreachable() {
        assert_eq!(router(&[("GET", "/a/**"), ("GET", "/a"), ("GET", "/a/*/**")]).unreachable(), vec![&"/a/**"]);
        assert!(router(&[("GET", "/a/**"), ("GET", "/a"), ("POST", "/a/*/**")]).unreachable().is_empty());
    }

    #[test]
    fn a_path_of_very_many_segments_matches_nothing() {
        let router = router(&[("GET", "/{all=**}")]);
        assert_eq!(router.find(&Method::GET, &"/a".repeat(10_000)), Found::Nothing);
    }
}

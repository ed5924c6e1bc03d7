//! The people that a demo platform knows. Their ids are derived from their emails, so that each service can prepare its
//! own part without asking another.

/// A person of the demo.
pub struct Person {
    /// What it logs in with.
    pub email: &'static str,
    /// Its password. Demo data is refused in production.
    pub password: &'static str,
    /// How it is addressed.
    pub name: &'static str,
    /// Its roles beside `customer`.
    pub roles: &'static [&'static str],
}

impl Person {
    /// The id of the person.
    pub fn id(&self) -> String {
        kit::id::derive("usr", "demo", self.email)
    }
}

/// Everyone.
pub const PEOPLE: &[Person] = &[
    Person { email: "alice@agora.example", password: "alice-demo-1", name: "Alice", roles: &[] },
    Person { email: "bob@agora.example", password: "bob-demo-1", name: "Bob", roles: &[] },
    Person { email: "support@agora.example", password: "support-demo-1", name: "Sam of support", roles: &["support"] },
    Person { email: "admin@agora.example", password: "admin-demo-1", name: "Ada, administrator", roles: &["admin"] },
];

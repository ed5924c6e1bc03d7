//! Which workload may call which RPC. One function, used by the inbound sidecar and by [`crate::explain()`].

use kit::contract::{Access, Method};

/// Whether a call may pass, and the rule that said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub allow: bool,
    /// The rule, in words.
    pub why: &'static str,
}

/// Decides whether the workload `peer` may call `method`. The first rule that fits wins:
///
/// 1. `policy.services` names the peer, or `*`: it may, in its own name.
/// 2. Access is `SERVICES`: nobody else may, the edge included.
/// 3. The peer is the edge: it may, since it carries users' calls.
/// 4. The call carries a user's token: it may, since it is made on that user's behalf.
/// 5. Otherwise it may not.
///
/// What the user may do is no matter of the sidecar: the service verifies the token and decides that by itself.
pub fn authorize(method: &Method, peer: &str, edge: &str, has_user_token: bool) -> Decision {
    if method.policy.admits_service(peer) {
        return Decision { allow: true, why: "the policy's `services` names this workload" };
    }
    if method.policy.access == Access::Services {
        return Decision { allow: false, why: "only the workloads in the policy's `services` may call this" };
    }
    if peer == edge {
        return Decision { allow: true, why: "the edge carries users' calls" };
    }
    if has_user_token {
        return Decision { allow: true, why: "the call carries a user's token" };
    }
    Decision {
        allow: false,
        why: "the policy's `services` does not name this workload, and no user's token is carried",
    }
}

/// Whether a path belongs to the services by which a process is watched and described: gRPC health and reflection. They
/// are in no contract; every workload of the mesh may call them.
pub(crate) fn is_infrastructure(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/") || path.starts_with("/grpc.reflection.")
}

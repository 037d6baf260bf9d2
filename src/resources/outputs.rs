//! The outputs of resources, for steps of other resources: from existing resources, or from the step that created them.

use std::collections::BTreeMap;

use super::kinds::Id;
use super::{elastic_ip, instance, orders, role, secrets, security_group, token, volume};

/// The outputs of a run, by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs(BTreeMap<Id, Any>);

/// The output of one kind.
pub trait Output: Clone + Into<Any> {
    /// The output as this kind's type, if it is of this kind.
    fn of(any: &Any) -> Option<&Self>;
}

macro_rules! outputs {
    ($($kind:ident $module:ident,)*) => {
        /// The output of any kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is its module's Output")]
        pub enum Any {
            $($kind($module::Output),)*
        }

        $(
            impl From<$module::Output> for Any {
                fn from(output: $module::Output) -> Self {
                    Any::$kind(output)
                }
            }

            impl Output for $module::Output {
                fn of(any: &Any) -> Option<&Self> {
                    match any {
                        Any::$kind(output) => Some(output),
                        _ => None,
                    }
                }
            }
        )*
    };
}
outputs! {
    SecurityGroup security_group,
    Role role,
    Token token,
    Secret secrets,
    Instance instance,
    Orders orders,
    ElasticIp elastic_ip,
    Volume volume,
}

impl Outputs {
    /// The output of a resource.
    pub fn get<T: Output>(&self, id: &Id) -> Option<T> {
        self.0.get(id).and_then(T::of).cloned()
    }

    /// Sets the output of a resource.
    pub fn set(&mut self, id: Id, output: impl Output) {
        self.0.insert(id, output.into());
    }

    /// Changes the output of a resource, if there is one.
    pub fn change<T: Output>(&mut self, id: &Id, change: impl FnOnce(&mut T)) {
        if let Some(mut output) = self.get(id) {
            change(&mut output);
            self.set(id.clone(), output);
        }
    }
}

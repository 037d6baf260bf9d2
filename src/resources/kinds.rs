//! The kinds of resources: the only list of them. The types of all kinds are generated from it, here and in the
//! executor.

use super::Sight;
use super::outputs::Outputs;
use super::step::{Planned, Resource, Step};
use crate::base::error::Result;

/// Passes the list to a macro: each kind's name, module and title, in the order of the plan's output.
///
/// A module has `Wanted` (the wanted resource, a [`Resource`]), `Change` (what a step does), and `apply`.
macro_rules! kinds {
    ($generate:ident) => {
        $generate! {
            SecurityGroup security_group "security group",
            Ingress ingress "ingress",
            KeyPair key_pair "key pair",
            Role role "role",
            AppRole app_role "app role",
            Token token "token",
            Secret secrets "secret",
            Bucket bucket "bucket",
            Release release "release",
            Proxy proxy "proxy",
            ElasticIp elastic_ip "address",
            DnsRecord dns_record "record",
            Instance instance "instance",
            InstanceProfile instance_profile "profile",
            Orders orders "orders",
            Volume volume "volume",
            DataGate data_gate "data gate",
            Attachment attachment "attachment",
            HealthGate health_gate "health",
            EipAssociation eip_association "association",
            Reports reports "reports",
        }
    };
}
pub(crate) use kinds;

macro_rules! generate {
    ($($kind:ident $module:ident $title:literal,)*) => {
        /// A kind of resource, or of a connection between two.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each is its module's")]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// The name for users.
            pub fn title(self) -> &'static str {
                match self {
                    $(Kind::$kind => $title,)*
                }
            }
        }

        /// The change of a step.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is its module's Change")]
        pub enum Change {
            $($kind(super::$module::Change),)*
        }

        /// A resource that a topology wants.
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "each is its module's Wanted")]
        pub enum Wanted {
            $($kind(super::$module::Wanted),)*
        }

        $(
            impl From<super::$module::Change> for Change {
                fn from(change: super::$module::Change) -> Self {
                    Change::$kind(change)
                }
            }

            impl From<super::$module::Wanted> for Wanted {
                fn from(wanted: super::$module::Wanted) -> Self {
                    Wanted::$kind(wanted)
                }
            }

            impl OfKind for super::$module::Wanted {
                fn of(wanted: &Wanted) -> Option<&Self> {
                    match wanted {
                        Wanted::$kind(wanted) => Some(wanted),
                        _ => None,
                    }
                }
            }
        )*

        impl Wanted {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Wanted::$kind(_) => Kind::$kind,)*
                }
            }

            /// Its id.
            pub fn id(&self) -> Id {
                match self {
                    $(Wanted::$kind(wanted) => wanted.id(),)*
                }
            }

            /// The step that brings it to the wanted state; `None` if it is there.
            ///
            /// # Errors
            /// A kind was not read.
            pub fn step(&self, sight: &Sight<'_>) -> Result<Option<Step>> {
                match self {
                    $(Wanted::$kind(wanted) => step(wanted, sight),)*
                }
            }
        }

        /// The outputs of the existing resources.
        pub fn outputs(sight: &Sight<'_>) -> Outputs {
            let mut outputs = Outputs::default();
            $(<super::$module::Wanted as Resource>::outputs(sight, &mut outputs);)*
            outputs
        }

        /// The steps that delete unwanted resources.
        ///
        /// # Errors
        /// A kind was not read.
        pub fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
            let mut steps = Vec::new();
            $(steps.extend(<super::$module::Wanted as Resource>::surplus(sight)?);)*
            Ok(steps)
        }
    };
}
kinds!(generate);

/// A wanted resource of one kind, among those of all kinds.
pub trait OfKind: Sized {
    /// The resource as this kind's type, if it is of this kind.
    fn of(wanted: &Wanted) -> Option<&Self>;
}

fn step<R: Resource>(wanted: &R, sight: &Sight<'_>) -> Result<Option<Step>> {
    let planned: Option<Planned<R::Change>> = wanted.diff(sight)?;
    Ok(planned.map(|planned| planned.step(wanted.id(), wanted.needs(sight))))
}

/// The id of a resource: its kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Its kind.
    pub kind: Kind,
    /// Its name among resources of its kind: AWS's id, or a name in `deploy.yaml`. Empty for the only one.
    pub name: String,
}

impl Id {
    /// The only one of its kind.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, name: String::new() }
    }

    /// One of several.
    pub fn named(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.as_str() {
            "" => f.write_str(self.kind.title()),
            name => write!(f, "{} {name}", self.kind.title()),
        }
    }
}

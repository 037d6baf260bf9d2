//! Instances that run, whosever they are: what the account's quota of vCPUs counts.

use aws_sdk_ec2::types::{Instance, Tenancy};

use super::pages;
use crate::aws::Aws;
use crate::base::error::Result;
use crate::base::names;
use crate::resources::{Tags, from_ec2, ours};

/// An instance that counts for the quota of its family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// EC2's name of the type.
    pub kind: String,
    /// How many vCPUs it has.
    pub vcpus: i64,
    /// All its tags.
    pub tags: Tags,
}

impl Running {
    /// Whether it is that deployment's.
    pub fn is_of(&self, name: &str) -> bool {
        ours(&self.tags, name)
    }

    /// Whether it is that deployment's and as it is wanted: then none takes its place.
    pub fn stays(&self, name: &str, spec: &str) -> bool {
        self.is_of(name) && self.tags.get(names::TAG_SPEC).is_some_and(|has| has == spec)
    }
}

/// Looks for all On-Demand instances of the region that run or are about to.
pub async fn running(aws: &Aws) -> Result<Vec<Running>> {
    Ok(pages(aws, None, &["pending", "running"]).await?.into_iter().filter_map(counted).collect())
}

/// Spot instances, and those on hosts of the account's own, have quotas of their own.
fn counted(instance: Instance) -> Option<Running> {
    let tenancy = instance.placement.and_then(|placement| placement.tenancy);
    if instance.instance_lifecycle.is_some() || tenancy == Some(Tenancy::Host) {
        return None;
    }
    let cpu = instance.cpu_options?;
    let vcpus = i64::from(cpu.core_count?) * i64::from(cpu.threads_per_core?);
    Some(Running { kind: instance.instance_type?.as_str().to_owned(), vcpus, tags: from_ec2(instance.tags) })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{CpuOptions, InstanceLifecycleType, InstanceType, Placement};

    use super::*;

    fn vcpus(change: impl Fn(&mut Instance)) -> Option<i64> {
        let cpu = CpuOptions::builder().core_count(4).threads_per_core(2).build();
        let mut instance = Instance::builder().instance_type(InstanceType::M5Large).cpu_options(cpu).build();
        change(&mut instance);
        counted(instance).map(|running| running.vcpus)
    }

    #[test]
    fn what_the_quota_does_not_count_is_left_out() {
        assert_eq!(vcpus(|_| ()), Some(8));
        let placed = |tenancy: Tenancy| {
            vcpus(|instance| instance.placement = Some(Placement::builder().tenancy(tenancy.clone()).build()))
        };
        assert_eq!((placed(Tenancy::Default), placed(Tenancy::Host)), (Some(8), None));
        assert_eq!(vcpus(|instance| instance.instance_lifecycle = Some(InstanceLifecycleType::Spot)), None);
    }
}

//! All running instances, of any owner: they count towards the account's vCPU quota.

use aws_sdk_ec2::types::{Instance, Tenancy};

use super::pages;
use crate::aws::Aws;
use crate::base::error::Result;
use crate::base::names;
use crate::resources::{Tags, from_ec2, ours};

/// An instance that counts towards the quota of its family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// EC2's name of the type.
    pub kind: String,
    /// The number of vCPUs.
    pub vcpus: i64,
    /// All tags.
    pub tags: Tags,
}

impl Running {
    /// Whether it belongs to that deployment.
    pub fn is_of(&self, name: &str) -> bool {
        ours(&self.tags, name)
    }

    /// Whether it belongs to that deployment and is as wanted, so it is not replaced.
    pub fn stays(&self, name: &str, spec: &str) -> bool {
        self.is_of(name) && self.tags.get(names::TAG_SPEC).is_some_and(|has| has == spec)
    }
}

/// Finds all On-Demand instances of the region that are pending or running.
pub async fn running(aws: &Aws) -> Result<Vec<Running>> {
    Ok(pages(aws, None, &["pending", "running"]).await?.into_iter().filter_map(counted).collect())
}

/// Spot instances and instances on dedicated hosts have other quotas.
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
    fn instances_outside_of_the_quota_are_left_out() {
        assert_eq!(vcpus(|_| ()), Some(8));
        let placed = |tenancy: Tenancy| {
            vcpus(|instance| instance.placement = Some(Placement::builder().tenancy(tenancy.clone()).build()))
        };
        assert_eq!((placed(Tenancy::Default), placed(Tenancy::Host)), (Some(8), None));
        assert_eq!(vcpus(|instance| instance.instance_lifecycle = Some(InstanceLifecycleType::Spot)), None);
    }
}

//! The properties of an instance type.

use aws_sdk_ec2::operation::describe_instance_types::DescribeInstanceTypesOutput;
use aws_sdk_ec2::operation::describe_instance_types::builders::DescribeInstanceTypesFluentBuilder;
use aws_sdk_ec2::types::{InstanceTypeHypervisor, InstanceTypeInfo};

use crate::aws::{Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::resources::filter;

/// An instance type that the region offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// `x86_64`, `arm64`, …
    pub architectures: Vec<String>,
    /// Whether it has CPU credits.
    pub burstable: bool,
    /// Whether it is from before Nitro.
    pub xen: bool,
    /// Whether accounts on the free plan may launch it.
    pub free: bool,
    /// The number of vCPUs.
    pub vcpus: Option<i32>,
    /// The memory in MiB.
    pub memory: i64,
}

impl Kind {
    /// Reads the response for one type; `None` if the region does not offer it.
    pub fn read(answer: DescribeInstanceTypesOutput) -> Option<Self> {
        answer.instance_types.unwrap_or_default().into_iter().next().map(Self::of)
    }

    /// Reads one type.
    pub fn of(found: InstanceTypeInfo) -> Self {
        let architectures = found.processor_info.and_then(|processor| processor.supported_architectures);
        Self {
            architectures: architectures.unwrap_or_default().iter().map(|one| one.as_str().to_owned()).collect(),
            burstable: found.burstable_performance_supported.unwrap_or_default(),
            xen: found.hypervisor == Some(InstanceTypeHypervisor::Xen),
            free: found.free_tier_eligible.unwrap_or_default(),
            vcpus: found.v_cpu_info.and_then(|info| info.default_v_cpus),
            memory: found.memory_info.and_then(|info| info.size_in_mib).unwrap_or_default(),
        }
    }

    /// Checks that the agent on such an instance can see new orders.
    ///
    /// # Errors
    /// It may not see them.
    pub fn check(&self, kind: &str) -> Result<()> {
        if !self.xen {
            return Ok(());
        }
        Err(Failure::failed(format!("{kind} is not a Nitro type, so it cannot receive orders"))
            .because("such an instance may see a changed tag only after a stop and a start")
            .standing("Nothing was changed.")
            .next("choose another instance.type in deploy.yaml, for example t3.micro or t4g.small"))
    }
}

/// With a filter, EC2 omits an unknown type; by name, it would be an error.
pub(crate) fn request(aws: &Aws, kind: &str) -> DescribeInstanceTypesFluentBuilder {
    aws.ec2.describe_instance_types().filters(filter("instance-type", kind))
}

/// The types that an account on the free plan may launch.
pub(crate) fn request_free(aws: &Aws) -> DescribeInstanceTypesFluentBuilder {
    aws.ec2.describe_instance_types().filters(filter("free-tier-eligible", "true"))
}

/// Reads the type.
pub(crate) async fn observe(aws: &Aws, kind: &str) -> Result<Option<Kind>> {
    let answer = call("ec2:DescribeInstanceTypes", || request(aws, kind).send()).await;
    Ok(Kind::read(answer.map_err(|error| explain("cannot look up the instance type", &error))?))
}

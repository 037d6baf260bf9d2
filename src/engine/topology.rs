//! Wanted state → resources. Pure. A topology does not depend on which of them exist.

use super::spec::Spec;
use crate::base::names;
use crate::config::SecretOrigin;
use crate::resources::{
    Wanted, app_role, attachment, bucket, data_gate, dns_record, eip_association, elastic_ip, health_gate, ingress,
    instance, instance_profile, key_pair, orders, proxy, release, reports, role, secrets, security_group, token,
    volume,
};

/// One instance, with an Elastic IP unless that is disabled.
pub fn single(spec: &Spec<'_>) -> Vec<Wanted> {
    let (deployment, network) = (spec.deployment, &spec.deployment.network);
    let tags = || spec.tags();
    let named = deployment.app.references();
    let references = || named.iter().map(|(&name, &reference)| (name.to_owned(), reference.clone())).collect();
    let mut wanted: Vec<Wanted> = vec![
        security_group::Wanted { tags: tags() }.into(),
        ingress::Wanted { rules: spec.rules() }.into(),
        key_pair::Wanted { tags: tags() }.into(),
        role::Wanted {
            policy: spec.policies.role.clone(),
            boundary: deployment.permissions_boundary.clone(),
            tags: tags(),
        }
        .into(),
        token::Wanted { tags: tags() }.into(),
        bucket::Wanted { policy: spec.policies.bucket.clone() }.into(),
        release::Wanted { id: spec.release.to_owned() }.into(),
        proxy::Wanted { build: spec.proxy }.into(),
        instance::Wanted {
            tags: spec.named_tags(),
            spec: spec.instance_spec(),
            release: spec.release.to_owned(),
            references: references(),
            refresh: spec.refresh,
            cpu_credits: deployment.instance.cpu_credits,
            data: deployment.data.is_some(),
            subnet: network.subnet.is_some(),
        }
        .into(),
        instance_profile::Wanted { profile: names::role(&deployment.name, spec.region) }.into(),
        orders::Wanted { release: spec.release.to_owned(), references: references() }.into(),
        reports::Wanted.into(),
    ];
    wanted.extend(deployment.app.secrets.iter().filter_map(|(name, origin)| {
        let generate = match origin {
            SecretOrigin::Set => false,
            SecretOrigin::Generated => true,
            // It is kept elsewhere, and nothing here changes it.
            SecretOrigin::Reference(_) => return None,
        };
        Some(secrets::Wanted { name: name.clone(), generate, tags: tags() }.into())
    }));
    wanted.extend(deployment.app.permissions.as_ref().map(|permissions| {
        let (file, policy) =
            permissions.policy.as_ref().map(|policy| (policy.file.clone(), (&policy.document).into())).unzip();
        let (managed, boundary) = (permissions.managed.clone(), deployment.permissions_boundary.clone());
        let name = names::app_role(&deployment.name, spec.region);
        app_role::Wanted { name, trust: spec.policies.trust.clone(), file, policy, managed, boundary, tags: tags() }
            .into()
    }));
    wanted.extend(data(spec));
    if spec.wait {
        let (release, data) = (spec.release.to_owned(), deployment.data.is_some());
        wanted.push(health_gate::Wanted { release, data }.into());
    }
    if network.static_ip {
        let domain = network.record().map(str::to_owned);
        wanted.extend(domain.clone().map(|domain| Wanted::from(dns_record::Wanted { domain })));
        wanted.push(elastic_ip::Wanted { tags: spec.named_tags(), domain }.into());
        wanted.push(eip_association::Wanted.into());
    }
    wanted
}

/// The data volume and its attachment.
fn data(spec: &Spec<'_>) -> Vec<Wanted> {
    let Some(data) = &spec.deployment.data else { return Vec::new() };
    let mut wanted: Vec<Wanted> =
        vec![volume::Wanted { gib: data.gib, tags: spec.named_tags() }.into(), attachment::Wanted.into()];
    if spec.wait {
        wanted.push(data_gate::Wanted { release: spec.release.to_owned() }.into());
    }
    wanted
}

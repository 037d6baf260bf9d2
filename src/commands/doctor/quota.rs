//! The vCPU quota: how many vCPUs all running On-Demand instances of similar families may have in a region. In a new account
//! it can be too small for the smallest instance.

use super::Check;
use crate::aws::{ApiError, Aws, explain};
use crate::base::error::Result;
use crate::resources::instance::{self, Running};
use crate::resources::preflight;

/// Each quota's code, and the families that count for it.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html>
const QUOTAS: [(&str, &[&str]); 10] = [
    (STANDARD, &["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"]),
    ("L-DB2E81BA", &["g", "gr", "vt"]),
    ("L-417A185B", &["p"]),
    ("L-7295265B", &["x"]),
    ("L-74FC7D96", &["f"]),
    ("L-1945791B", &["inf"]),
    ("L-2C3B7624", &["trn"]),
    ("L-6E869C2A", &["dl"]),
    ("L-F7808C92", &["hpc"]),
    // High memory, such as u-6tb1.56xlarge and u7i-12tb.224xlarge.
    ("L-43DA4232", &["u"]),
];

const STANDARD: &str = "L-1216C47A";
const VCPUS: &str = "vCPUs";

/// What was observed.
pub struct Quota {
    code: &'static str,
    /// `None` if AWS does not tell.
    limit: Result<Option<i64>, ApiError>,
    /// The running instances of all families in the region.
    running: Result<Vec<Running>>,
}

/// `None` for a family whose quota is unknown.
pub async fn observe(aws: &Aws, kind: &str) -> Option<Quota> {
    let code = code(kind)?;
    let (limit, running) = tokio::join!(preflight::ec2_quota(aws, code), preflight::soon(instance::running(aws)));
    Some(Quota { code, limit, running })
}

fn code(kind: &str) -> Option<&'static str> {
    let family = kind.split(|letter: char| !letter.is_ascii_lowercase()).next()?;
    QUOTAS.iter().find(|(_, families)| families.contains(&family)).map(|(code, _)| *code)
}

/// The wanted instance.
pub struct Wanted<'a> {
    /// The deployment's name.
    pub name: &'a str,
    /// The type.
    pub kind: &'a str,
    /// Its number of vCPUs.
    pub vcpus: i64,
    /// The hash of what only a new instance can change.
    pub spec: &'a str,
}

impl Quota {
    /// `None` if the limit is unknown.
    pub fn judge(&self, region: &str, wanted: &Wanted) -> Option<Check> {
        let (limit, running) = match (&self.limit, &self.running) {
            (Ok(limit), Ok(running)) => ((*limit)?, running),
            (Err(error), _) => return Some(Check::unknown(VCPUS, &explain("cannot read the quota", error))),
            (_, Err(failure)) => return Some(Check::unknown(VCPUS, failure)),
        };
        let Wanted { name, kind, vcpus: needed, spec } = *wanted;
        let running: Vec<_> = running.iter().filter(|one| code(&one.kind) == Some(self.code)).collect();
        let used: i64 = running.iter().map(|one| one.vcpus).sum();
        if running.iter().any(|one| one.stays(name, spec)) {
            return Some(Check::pass(VCPUS, format!("{used} of {limit} in use, including this deployment")));
        }
        // A replacement is launched first, and both instances run until it is healthy.
        let (ours, others): (Vec<_>, Vec<_>) = running.into_iter().partition(|one| one.is_of(name));
        let beside = if ours.is_empty() { "" } else { " in addition to the instance that it replaces" };
        if used + needed <= limit {
            return Some(Check::pass(VCPUS, format!("{used} of {limit} in use, and {kind} needs {needed}{beside}")));
        }
        Some(Check::fail(
            VCPUS,
            format!("{used} of {limit} are in use, and {kind} needs {needed}{beside}"),
            self.ways_out(region, used, limit, needed, !others.is_empty()),
        ))
    }

    /// The requested quota leaves room for a later replacement. `others`: whether other instances are running.
    fn ways_out(&self, region: &str, used: i64, limit: i64, needed: i64, others: bool) -> String {
        let mut ways = vec![format!(
            "request more: aws service-quotas request-service-quota-increase --region {region} --service-code ec2 \
             --quota-code {} --desired-value {}",
            self.code,
            used + 2 * needed
        )];
        if others {
            ways.push("terminate another instance".to_owned());
        }
        // Every T type on Nitro has at least two.
        let smaller = match limit - used {
            1 => Some("m6g.medium, which has 1"),
            2.. => Some("t3.micro, which has 2"),
            _ => None,
        };
        if let Some(smaller) = smaller.filter(|_| self.code == STANDARD) {
            ways.push(format!("choose a smaller instance.type, for example {smaller}"));
        }
        ways.join("; or ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::base::names;
    use crate::resources::Tags;

    fn running(kind: &str, vcpus: i64, of: Option<(&str, &str)>) -> Running {
        let tag = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let tags = of.map(|(name, spec)| Tags::from([(names::TAG_NAME, name), (names::TAG_SPEC, spec)].map(tag)));
        Running { kind: kind.into(), vcpus, tags: tags.unwrap_or_default() }
    }

    fn judged(kind: &str, vcpus: i64, limit: i64, running: Vec<Running>) -> Check {
        let quota = Quota { code: code(kind).unwrap(), limit: Ok(Some(limit)), running: Ok(running) };
        quota.judge("eu-west-1", &Wanted { name: "hello", kind, vcpus, spec: "s1" }).unwrap()
    }

    #[test]
    fn each_family_counts_for_one_quota() {
        for kind in ["t3.micro", "m7i-flex.large", "im4gn.large", "is4gen.medium", "a1.medium", "z1d.large"] {
            assert_eq!(code(kind), Some(STANDARD), "{kind}");
        }
        assert_eq!(code("g4dn.xlarge"), code("vt1.3xlarge"));
        let others = ["g5g.xlarge", "p5.48xlarge", "x2gd.medium", "f2.6xlarge", "inf2.xlarge", "trn1.2xlarge"];
        let others = others.into_iter().chain(["dl1.24xlarge", "hpc7g.4xlarge", "u-6tb1.56xlarge", "t4g.nano"]);
        assert_eq!(others.filter_map(code).collect::<std::collections::BTreeSet<_>>().len(), QUOTAS.len());
        // Dedicated hosts, and unknown families.
        assert_eq!((code("mac2.metal"), code("q9.large")), (None, None));
    }

    #[test]
    fn running_and_wanted_instances_must_fit() {
        let fits = |limit, running: Vec<Running>| judged("t3.micro", 2, limit, running).state == State::Pass;
        assert!(!fits(1, vec![]));
        assert!(fits(2, vec![]));
        assert!(!fits(5, vec![running("m5.xlarge", 4, None)]));
        assert!(fits(6, vec![running("m5.xlarge", 4, None)]));
        // Another quota.
        assert!(fits(2, vec![running("p5.48xlarge", 192, None)]));
    }

    #[test]
    fn a_kept_instance_needs_no_more_and_a_replaced_one_runs_meanwhile() {
        let beside = |of, limit| judged("t3.micro", 2, limit, vec![running("t3.micro", 2, Some(of))]);
        assert_eq!(beside(("hello", "s1"), 1).state, State::Pass);
        assert_eq!(beside(("hello", "s0"), 4).state, State::Pass);
        let ours = beside(("hello", "s0"), 3);
        assert!(ours.is_failed() && ours.seen.contains("replaces"), "{}", ours.seen);
        assert!(!ours.next.unwrap().to_string().contains("terminate another"));
        let others = beside(("other", "s1"), 3);
        assert!(others.is_failed() && !others.seen.contains("replaces"), "{}", others.seen);
        assert!(others.next.unwrap().to_string().contains("terminate another"));
    }

    #[test]
    fn only_solutions_that_work_are_suggested() {
        let next = |kind, vcpus, limit, running| judged(kind, vcpus, limit, running).next.unwrap().to_string();
        let new = next("t3.micro", 2, 1, vec![]);
        assert!(new.contains("--quota-code L-1216C47A --desired-value 4"), "{new}");
        assert!(new.contains("m6g.medium") && !new.contains("terminate another"), "{new}");
        let full = next("t3.micro", 2, 4, vec![running("m5.xlarge", 4, None)]);
        assert!(full.contains("--desired-value 8; or terminate another instance"), "{full}");
        assert!(!full.contains("smaller"), "{full}");
        assert!(next("m5.xlarge", 4, 3, vec![]).contains("t3.micro"));
        let graphics = next("g4dn.xlarge", 4, 3, vec![]);
        assert!(graphics.contains("L-DB2E81BA") && !graphics.contains("smaller"), "{graphics}");
    }

    #[test]
    fn an_unknown_limit_does_not_fail() {
        let judge = |limit| {
            let wanted = Wanted { name: "hello", kind: "t3.micro", vcpus: 2, spec: "s1" };
            Quota { code: STANDARD, limit, running: Ok(vec![]) }.judge("eu-west-1", &wanted)
        };
        assert_eq!(judge(Ok(None)), None);
        let action = "servicequotas:GetServiceQuota";
        let error =
            |code: &str| ApiError { action, code: code.into(), message: "no".into(), status: None, ahead: None };
        for code in ["AccessDeniedException", "ServiceException", ""] {
            assert_eq!(judge(Err(error(code))).unwrap().state, State::Warn, "{code}");
        }
    }
}

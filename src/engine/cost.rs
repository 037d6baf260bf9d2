//! The monthly cost of a deployment: instance, disk and public address. Pure: a table of list prices in the binary, so
//! the cost is shown before anything is created, without credentials or calls.
//!
//! Money is counted in hundredths of a cent, because every price here is a whole number of them. A price that is not in
//! the table is reported as unknown: a guess would look like a price.

use std::fmt;

/// The date of the prices. Those of us-east-1 are from AWS's price list of that month. Those of the other regions are
/// older; no change by AWS is known.
pub const AS_OF: &str = "2026-02";
/// AWS's page with the prices.
pub const SOURCE: &str = "https://aws.amazon.com/ec2/pricing/on-demand/";

/// Hours in a month, as in AWS's calculator.
const HOURS: u32 = 730;
/// <https://aws.amazon.com/vpc/pricing/>: the same in each region of the table, associated or not.
const ADDRESS: u32 = 50;

/// A sum in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(u32);

impl Money {
    /// In dollars, to the cent.
    pub fn dollars(self) -> f64 {
        f64::from((self.0 + 50) / 100) / 100.0
    }
}

impl std::ops::Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.2}", self.dollars())
    }
}

/// The billed resources of a deployment that exists or is planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The types of the running instances. A stopped instance itself costs nothing.
    pub instances: Vec<String>,
    /// The total size of the disks, in GiB.
    pub disk_gib: u32,
    /// The number of public IPv4 addresses, associated or not.
    pub addresses: u32,
}

impl Standing {
    /// The resources of a deployment with this type and disk.
    pub fn one(kind: &str, disk_gib: u32) -> Self {
        Self { instances: vec![kind.to_owned()], disk_gib, addresses: 1 }
    }
}

/// The monthly cost by part; `None` where it is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The instances.
    pub instance: Option<Money>,
    /// Their disks.
    pub disk: Option<Money>,
    /// The addresses.
    pub address: Option<Money>,
}

/// A region's prices.
struct Prices {
    region: &'static str,
    /// A GB-month of gp3: <https://aws.amazon.com/ebs/pricing/>
    disk: u32,
    /// An hour of the smallest size of each family; each further size is twice the one before.
    nano: &'static [(&'static str, u32)],
    /// The hourly price of the other types.
    others: &'static [(&'static str, u32)],
}

const SIZES: [&str; 5] = ["nano", "micro", "small", "medium", "large"];

/// These three regions have the same prices.
const NANO_US: &[(&str, u32)] = &[("t3", 52), ("t3a", 47), ("t4g", 42)];

const PRICES: [Prices; 8] = [
    Prices { region: "us-east-1", disk: 800, nano: NANO_US, others: &[("t2.micro", 116)] },
    Prices { region: "us-east-2", disk: 800, nano: NANO_US, others: &[("t2.micro", 116)] },
    Prices { region: "us-west-2", disk: 800, nano: NANO_US, others: &[("t2.micro", 116)] },
    Prices { region: "eu-west-1", disk: 880, nano: &[("t3", 57)], others: &[("t2.micro", 126)] },
    Prices { region: "eu-central-1", disk: 952, nano: &[("t3", 60), ("t3a", 54)], others: &[("t2.micro", 134)] },
    Prices { region: "eu-north-1", disk: 836, nano: &[("t3", 54)], others: &[] },
    Prices { region: "ap-southeast-1", disk: 960, nano: &[("t3", 66)], others: &[("t2.micro", 146)] },
    Prices { region: "ap-northeast-1", disk: 960, nano: &[("t3", 68)], others: &[("t2.micro", 152)] },
];

impl Prices {
    fn of(region: &str) -> Option<&'static Prices> {
        PRICES.iter().find(|prices| prices.region == region)
    }

    /// The monthly price of an instance type.
    fn instance(&self, kind: &str) -> Option<Money> {
        let named = |(name, price): &(&str, u32)| (*name == kind).then_some(*price);
        let hour = self.others.iter().find_map(named).or_else(|| {
            let (family, size) = kind.split_once('.')?;
            let step = SIZES.iter().position(|known| *known == size)?;
            let (_, nano) = self.nano.iter().find(|(name, _)| *name == family)?;
            Some(nano << step)
        });
        hour.map(|hour| Money(hour * HOURS))
    }
}

/// The cost of a month of 730 hours, before taxes, traffic and free-tier credits.
pub fn of(region: &str, standing: &Standing) -> Cost {
    let Some(prices) = Prices::of(region) else { return Cost::default() };
    let instances = standing.instances.iter().map(|kind| prices.instance(kind));
    Cost {
        instance: instances.sum::<Option<Money>>(),
        disk: Some(Money(prices.disk.saturating_mul(standing.disk_gib))),
        address: Some(Money((ADDRESS * HOURS).saturating_mul(standing.addresses))),
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| sum + one)
    }
}

impl Cost {
    /// The total, if each part is known.
    pub fn month(&self) -> Option<Money> {
        [self.instance, self.disk, self.address].into_iter().sum()
    }

    /// The total of the known parts.
    fn least(&self) -> Option<Money> {
        let known: Vec<Money> = [self.instance, self.disk, self.address].into_iter().flatten().collect();
        (!known.is_empty()).then(|| known.into_iter().sum())
    }

    /// A short form for a table.
    pub fn short(&self) -> String {
        match (self.month(), self.least()) {
            (Some(Money(0)), _) => "costs nothing".to_owned(),
            (Some(month), _) => format!("{month} a month"),
            (None, Some(least)) => format!("over {least} a month"),
            (None, None) => "cost not known here".to_owned(),
        }
    }

    /// One line with the parts.
    pub fn words(&self) -> String {
        let parts = [("instance", self.instance), ("disk", self.disk), ("address", self.address)];
        let part = |(name, sum): (&str, Option<Money>)| {
            let sum = sum.map_or_else(|| "not known here".to_owned(), |sum| sum.to_string());
            format!("{name} {sum}")
        };
        let list = || parts.map(part).join(", ");
        match (self.month(), self.least()) {
            (Some(month), _) => format!("about {month} a month ({})", list()),
            (None, Some(least)) => format!("over {least} a month ({})", list()),
            (None, None) => format!("not known here for this region: {SOURCE}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::documents;

    /// The price in AWS's notation, in dollars per hour.
    fn hour(region: &str, kind: &str) -> Option<f64> {
        let month = Prices::of(region)?.instance(kind)?;
        Some(f64::from(month.0 / HOURS) / 10_000.0)
    }

    #[test]
    fn every_price_matches_the_price_list() {
        let us = [
            ("t3", [0.0052, 0.0104, 0.0208, 0.0416, 0.0832]),
            ("t3a", [0.0047, 0.0094, 0.0188, 0.0376, 0.0752]),
            ("t4g", [0.0042, 0.0084, 0.0168, 0.0336, 0.0672]),
        ];
        let mut all: Vec<(&str, &str, [f64; 5])> = Vec::new();
        for region in ["us-east-1", "us-east-2", "us-west-2"] {
            all.extend(us.map(|(family, row)| (region, family, row)));
        }
        all.extend([
            ("eu-west-1", "t3", [0.0057, 0.0114, 0.0228, 0.0456, 0.0912]),
            ("eu-central-1", "t3", [0.006, 0.012, 0.024, 0.048, 0.096]),
            ("eu-central-1", "t3a", [0.0054, 0.0108, 0.0216, 0.0432, 0.0864]),
            ("eu-north-1", "t3", [0.0054, 0.0108, 0.0216, 0.0432, 0.0864]),
            ("ap-southeast-1", "t3", [0.0066, 0.0132, 0.0264, 0.0528, 0.1056]),
            ("ap-northeast-1", "t3", [0.0068, 0.0136, 0.0272, 0.0544, 0.1088]),
        ]);
        assert_eq!(all.len(), PRICES.iter().map(|prices| prices.nano.len()).sum::<usize>());
        for (region, family, row) in all {
            for (size, price) in SIZES.iter().zip(row) {
                assert_eq!(hour(region, &format!("{family}.{size}")), Some(price), "{region} {family}.{size}");
            }
        }
        let micro = PRICES.iter().map(|prices| hour(prices.region, "t2.micro")).collect::<Vec<_>>();
        assert_eq!(
            micro,
            [Some(0.0116), Some(0.0116), Some(0.0116), Some(0.0126), Some(0.0134), None, Some(0.0146), Some(0.0152)]
        );
    }

    #[test]
    fn the_default_deployment_has_its_known_cost() {
        let cost = of("us-east-1", &Standing::one("t3.micro", 8));
        assert_eq!(cost.words(), "about $11.88 a month (instance $7.59, disk $0.64, address $3.65)");
        assert_eq!(cost.short(), "$11.88 a month");
        assert_eq!(
            serde_json::to_value(documents::Cost::from(&cost)).unwrap(),
            serde_json::json!({"currency": "USD", "as_of": AS_OF, "month": 11.88, "instance": 7.59, "disk": 0.64, "address": 3.65})
        );
    }

    #[test]
    fn a_stopped_instance_costs_its_disk_and_an_unassociated_address_its_hours() {
        let stopped = Standing { instances: vec![], disk_gib: 8, addresses: 1 };
        let words = of("us-east-1", &stopped).words();
        assert_eq!(words, "about $4.29 a month (instance $0.00, disk $0.64, address $3.65)");
        let address = Standing { addresses: 1, ..Standing::default() };
        assert_eq!(of("eu-north-1", &address).month(), Some(Money(36_500)));
        assert_eq!(of("us-east-1", &Standing::default()).short(), "costs nothing");
    }

    #[test]
    fn several_instances_are_counted_together() {
        let two = Standing { instances: vec!["t3.micro".into(), "t4g.small".into()], disk_gib: 16, addresses: 2 };
        let cost = of("us-west-2", &two);
        assert_eq!(cost.instance, Some(Money((104 + 168) * 730)));
        assert_eq!((cost.disk, cost.address), (Some(Money(12_800)), Some(Money(73_000))));
    }

    #[test]
    fn an_unknown_type_leaves_a_lower_bound_and_an_unknown_region_nothing() {
        for kind in ["c7g.large", "t3.xlarge", "t3", "t3.", ".micro", "t1.micro", ""] {
            let cost = of("us-east-1", &Standing::one(kind, 8));
            assert_eq!(cost.month(), None, "{kind}");
            assert_eq!(cost.words(), "over $4.29 a month (instance not known here, disk $0.64, address $3.65)");
            assert_eq!(cost.short(), "over $4.29 a month");
            assert_eq!(documents::Cost::from(&cost).month, None);
        }
        let nowhere = of("xx-test-1", &Standing::one("t3.micro", 8));
        assert_eq!(nowhere, Cost::default());
        assert_eq!(nowhere.words(), format!("not known here for this region: {SOURCE}"));
        assert_eq!(nowhere.short(), "cost not known here");
        // A known price does not replace an unknown one.
        let both = Standing { instances: vec!["t3.micro".into(), "x9.huge".into()], ..Standing::default() };
        assert_eq!(of("us-east-1", &both).instance, None);
    }

    #[test]
    fn no_region_has_two_rows_and_no_sum_overflows() {
        let mut regions: Vec<&str> = PRICES.iter().map(|prices| prices.region).collect();
        regions.sort_unstable();
        regions.dedup();
        assert_eq!(regions.len(), PRICES.len());
        let huge = Standing { instances: vec!["t3.large".into(); 1000], disk_gib: u32::MAX, addresses: u32::MAX };
        assert_eq!(of("us-east-1", &huge).month(), Some(Money(u32::MAX)));
    }

    #[test]
    fn cents_are_rounded_not_cut() {
        assert_eq!(Money(75_920).to_string(), "$7.59");
        assert_eq!(Money(75_950).to_string(), "$7.60");
        assert_eq!(Money(0).to_string(), "$0.00");
    }
}

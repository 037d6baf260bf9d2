//! The route from an instance's subnet to the internet: without it, the instance cannot be reached and cannot reach
//! others.

use aws_sdk_ec2::operation::describe_subnets::builders::DescribeSubnetsFluentBuilder;
use aws_sdk_ec2::types::{Route, RouteState, RouteTable, Subnet};

use super::filter;
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::{Failure, Result};

/// The route of the subnets in which an instance could be launched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Not read, or EC2 did not tell: this blocks nothing.
    #[default]
    Unknown,
    /// One of the subnets has a route.
    Open,
    /// None of the subnets has a route.
    Closed {
        /// `subnet-…`: the first of them.
        subnet: String,
        /// `rtb-…`: its route table.
        table: String,
    },
}

impl Way {
    /// Checks that an instance can be reached there.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn check(&self) -> Result<()> {
        let Way::Closed { subnet, table } = self else { return Ok(()) };
        Err(Failure::failed(format!("an instance in {subnet} cannot be reached from the internet"))
            .because(format!("its route table {table} has no route for 0.0.0.0/0 to an internet gateway"))
            .standing("Nothing was changed.")
            .next(format!(
                "name a public subnet as network.subnet in deploy.yaml; or, with an internet gateway attached to its VPC: aws ec2 \
                 create-route --route-table-id {table} --destination-cidr-block 0.0.0.0/0 --gateway-id igw-…"
            )))
    }
}

/// Requests the named subnet, or those of the default VPC, of which EC2 would choose one.
pub fn subnets(aws: &Aws, named: Option<&str>) -> DescribeSubnetsFluentBuilder {
    let request = aws.ec2.describe_subnets();
    match named {
        Some(id) => request.subnet_ids(id),
        None => request.filters(filter("default-for-az", "true")),
    }
}

/// Reads the route of the named subnet, or of the default VPC's subnets, and the zone of the named one. A missing permission is ignored. The route
/// tables of all VPCs are read concurrently: only the subnets show the VPC, and two calls in sequence would delay a
/// launch.
///
/// # Errors
/// Another error of EC2, such as an unknown subnet.
pub async fn observe(aws: &Aws, named: Option<&str>) -> Result<(Way, Option<String>)> {
    let (subnets, tables) = tokio::join!(
        call("ec2:DescribeSubnets", || subnets(aws, named).send()),
        call("ec2:DescribeRouteTables", || aws.ec2.describe_route_tables().send()),
    );
    let subnets = match subnets {
        Ok(answer) => answer.subnets.unwrap_or_default(),
        Err(error) => return Ok((unknown(&error)?, None)),
    };
    let zone = named.and_then(|_| subnets.first()?.availability_zone.clone());
    let way = match tables {
        Ok(answer) if answer.next_token.is_none() => of(&subnets, &answer.route_tables.unwrap_or_default()),
        Ok(_) => from(aws, &subnets).await?,
        Err(error) => unknown(&error)?,
    };
    Ok((way, zone))
}

/// Reads the route of these subnets, which are in one VPC. If there is none, the launch reports it.
///
/// # Errors
/// A call to EC2 fails, except for a missing permission.
pub async fn from(aws: &Aws, subnets: &[Subnet]) -> Result<Way> {
    let Some(vpc) = subnets.first().and_then(Subnet::vpc_id) else { return Ok(Way::Unknown) };
    let request = || aws.ec2.describe_route_tables().filters(filter("vpc-id", vpc)).send();
    match call("ec2:DescribeRouteTables", request).await {
        Ok(answer) => Ok(of(subnets, &answer.route_tables.unwrap_or_default())),
        Err(error) => unknown(&error),
    }
}

fn unknown(error: &ApiError) -> Result<Way> {
    match error.is(&["UnauthorizedOperation"]) {
        true => Ok(Way::Unknown),
        false => Err(explain("cannot look up the route to the internet", error)),
    }
}

/// The route of these subnets of one VPC, from these route tables.
pub fn of(subnets: &[Subnet], tables: &[RouteTable]) -> Way {
    let vpc = subnets.first().and_then(Subnet::vpc_id);
    let tables: Vec<&RouteTable> = tables.iter().filter(|table| table.vpc_id() == vpc).collect();
    let main = tables.iter().find(|table| table.associations().iter().any(|one| one.main() == Some(true)));
    let mut closed = Way::Unknown;
    for subnet in subnets.iter().filter_map(Subnet::subnet_id) {
        let own = tables.iter().find(|table| table.associations().iter().any(|one| one.subnet_id() == Some(subnet)));
        let Some(table) = own.or(main) else { return Way::Unknown };
        if table.routes().iter().any(leads_out) {
            return Way::Open;
        }
        if closed == Way::Unknown {
            let table = table.route_table_id().unwrap_or_default().to_owned();
            closed = Way::Closed { subnet: subnet.to_owned(), table };
        }
    }
    closed
}

/// Whether the target is an internet gateway, for any destination; or an appliance or endpoint that inspects the
/// traffic in front of one. A NAT gateway allows no incoming connections.
fn leads_out(route: &Route) -> bool {
    let to = |kind: &str| route.gateway_id().is_some_and(|id| id.starts_with(kind));
    let everywhere =
        route.destination_cidr_block() == Some("0.0.0.0/0") || route.destination_prefix_list_id().is_some();
    let inspected = everywhere && (to("vpce-") || route.network_interface_id().is_some());
    route.state() != Some(&RouteState::Blackhole) && (to("igw-") || inspected)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::RouteTableAssociation;

    use super::*;

    fn subnet(id: &str) -> Subnet {
        Subnet::builder().subnet_id(id).vpc_id("vpc-1").build()
    }

    fn table(id: &str, of: Option<&str>, routes: Vec<Route>) -> RouteTable {
        let association = RouteTableAssociation::builder().main(of.is_none()).set_subnet_id(of.map(str::to_owned));
        let table = RouteTable::builder().route_table_id(id).vpc_id("vpc-1").associations(association.build());
        table.set_routes(Some(routes)).build()
    }

    fn to(target: &str) -> Route {
        let route = Route::builder().destination_cidr_block("0.0.0.0/0").state(RouteState::Active);
        match target.split_once('-').unwrap().0 {
            "nat" => route.nat_gateway_id(target),
            "eni" => route.network_interface_id(target),
            "tgw" => route.transit_gateway_id(target),
            _ => route.gateway_id(target),
        }
        .build()
    }

    #[test]
    fn a_subnets_own_table_counts_before_the_main_one() {
        let (open, closed) = (|| vec![to("igw-1")], Vec::new);
        let way = |tables: &[RouteTable]| of(&[subnet("subnet-1")], tables);
        let shut = |table: &str| Way::Closed { subnet: "subnet-1".into(), table: table.into() };
        assert_eq!(way(&[table("rtb-main", None, open())]), Way::Open);
        assert_eq!(way(&[table("rtb-main", None, closed())]), shut("rtb-main"));
        let own = |routes| table("rtb-own", Some("subnet-1"), routes);
        assert_eq!(way(&[table("rtb-main", None, closed()), own(open())]), Way::Open);
        assert_eq!(way(&[table("rtb-main", None, open()), own(closed())]), shut("rtb-own"));
        assert_eq!(
            way(&[table("rtb-main", None, closed()), table("rtb-2", Some("subnet-2"), open())]),
            shut("rtb-main")
        );
        assert_eq!(way(&[]), Way::Unknown);
    }

    #[test]
    fn one_subnet_with_a_route_is_enough() {
        let tables = [table("rtb-main", None, vec![]), table("rtb-2", Some("subnet-2"), vec![to("igw-1")])];
        assert_eq!(of(&[subnet("subnet-1"), subnet("subnet-2")], &tables), Way::Open);
        assert_eq!(of(&[], &tables), Way::Unknown);
    }

    #[test]
    fn the_main_table_of_another_vpc_is_ignored() {
        let open = |vpc: &str| {
            let main = RouteTableAssociation::builder().main(true).build();
            RouteTable::builder().route_table_id("rtb-2").vpc_id(vpc).associations(main).routes(to("igw-1")).build()
        };
        let ours = table("rtb-main", None, vec![]);
        let shut = Way::Closed { subnet: "subnet-1".into(), table: "rtb-main".into() };
        assert_eq!(of(&[subnet("subnet-1")], &[open("vpc-2"), ours]), shut);
        assert_eq!(of(&[subnet("subnet-1")], &[open("vpc-2")]), Way::Unknown);
        assert_eq!(of(&[subnet("subnet-1")], &[open("vpc-1")]), Way::Open);
    }

    #[test]
    fn only_routes_with_incoming_connections_count() {
        for (target, open) in
            [("igw-1", true), ("vpce-1", true), ("eni-1", true), ("nat-1", false), ("tgw-1", false), ("vgw-1", false)]
        {
            assert_eq!(leads_out(&to(target)), open, "{target}");
        }
        let route = || Route::builder().gateway_id("igw-1");
        assert!(leads_out(&route().destination_cidr_block("128.0.0.0/1").build()));
        let inspected = Route::builder().gateway_id("vpce-1").destination_cidr_block("10.0.0.0/8");
        assert!(!leads_out(&inspected.build()));
        assert!(!leads_out(&route().destination_cidr_block("0.0.0.0/0").state(RouteState::Blackhole).build()));
        assert!(leads_out(&route().destination_prefix_list_id("pl-1").build()));
    }
}

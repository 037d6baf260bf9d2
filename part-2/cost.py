#!/usr/bin/env python3
"""Computes the monthly cost at three scales, as the table in README.md: first assumptions and prices, then the arithmetic.

Prices are in US dollars: CloudFront for viewers in South America, everything else in us-east-1. README.md lists the prices that were
checked in November 2026.
"""

SCALES = {"10 thousand": 10_000, "10 million": 10_000_000, "1 billion": 1_000_000_000}

# Assumptions about a request.
API_SHARE = 0.2  # The others are static files.
STATIC_HITS = 0.95  # Served by CloudFront without S3.
STATIC_GB, API_GB = 50e-6, 5e-6  # Responses of 50 KB and 5 KB.
LAMBDA_GB_SECONDS = 0.25 * 0.05  # 256 MB for 50 ms.
READ_UNITS = 0.5  # One item up to 4 KB, eventually consistent.
WRITE_UNITS = 0.2  # One call in five writes an item up to 1 KB.
LOG_GB = 1e-6  # 1 KB of logs per API call.
STORED_GB = {"S3": 1, "DynamoDB": 10}

CLOUDFRONT_FREE_GB, CLOUDFRONT_FREE_REQUESTS = 1024, 10_000_000
CLOUDFRONT_GB = [(10 * 1024, 0.110), (40 * 1024, 0.105), (100 * 1024, 0.090)]
CLOUDFRONT_REQUEST = 0.0220 / 10_000
S3_GET, S3_GB = 0.0004 / 1000, 0.023
API_REQUEST = [(300_000_000, 1.00 / 1e6), (10**12, 0.90 / 1e6)]
LAMBDA_REQUEST, LAMBDA_GB_SECOND = 0.20 / 1e6, 0.0000166667
DYNAMODB_READ, DYNAMODB_WRITE, DYNAMODB_GB = 0.125 / 1e6, 0.625 / 1e6, 0.25
LOGS_GB = 0.50
ROUTE53_ZONE = 0.50


def tiered(amount, tiers):
    """The price of an amount with tiered prices."""
    total = 0.0
    for size, price in tiers:
        part = min(amount, size)
        total, amount = total + part * price, amount - part
    return total


def bill(requests):
    """The monthly cost of each service."""
    api, static = requests * API_SHARE, requests * (1 - API_SHARE)
    out = static * STATIC_GB + api * API_GB
    return {
        "CloudFront": tiered(max(0, out - CLOUDFRONT_FREE_GB), CLOUDFRONT_GB)
        + max(0, requests - CLOUDFRONT_FREE_REQUESTS) * CLOUDFRONT_REQUEST,
        "S3": static * (1 - STATIC_HITS) * S3_GET + STORED_GB["S3"] * S3_GB,
        "API Gateway": tiered(api, API_REQUEST),
        "Lambda": api * (LAMBDA_REQUEST + LAMBDA_GB_SECONDS * LAMBDA_GB_SECOND),
        "DynamoDB": api * (READ_UNITS * DYNAMODB_READ + WRITE_UNITS * DYNAMODB_WRITE)
        + STORED_GB["DynamoDB"] * DYNAMODB_GB,
        "CloudWatch Logs": api * LOG_GB * LOGS_GB,
        "Route 53": ROUTE53_ZONE,
    }


def table():
    """The table in Markdown."""
    bills = [bill(requests) for requests in SCALES.values()]
    lines = ["| service | " + " | ".join(SCALES) + " |", "| --- |" + " ---: |" * len(SCALES)]
    lines += [f"| {name} | " + " | ".join(f"{each[name]:,.2f}" for each in bills) + " |" for name in bills[0]]
    lines.append("| **sum** | " + " | ".join(f"**{sum(each.values()):,.2f}**" for each in bills) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())

"""What calls cost: list prices from the genai-prices package and overrides from the configuration.

Apart from the compiler because the list's data is heavy (about 14 MB and 80 ms on top of the gateway):
it is imported when the first price is asked for, never by importing this package.
"""

from penstock.prices.amounts import nano_per_million
from penstock.prices.catalog import list_prices, list_version, lookup_list
from penstock.prices.lookup import for_wildcard, lookup
from penstock.prices.overrides import PriceOverrides, TierOverride, TokenPrices

__all__ = [
    "PriceOverrides",
    "TierOverride",
    "TokenPrices",
    "for_wildcard",
    "list_prices",
    "list_version",
    "lookup",
    "lookup_list",
    "nano_per_million",
]

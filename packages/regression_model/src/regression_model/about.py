"""What people should know of the house prices, in words; of the real data, which the synthetic sample imitates."""

from __future__ import annotations

from typing import Final

from model_kit.scoring.about import About

ABOUT: Final = About(
    title="House prices in Ames, Iowa",
    purpose=(
        "A second opinion on what a house in Ames sold for between 2006 and 2010, and a worked example of a model in "
        "production. It is no valuation of a house today."
    ),
    place="Ames, Iowa",
    period="2006 to 2010",
    source=(
        "Sales on record at the Ames City Assessor's Office, compiled by Dean De Cock: Journal of Statistics Education "
        "19:3 (2011), https://doi.org/10.1080/10691898.2011.11889627"
    ),
    licence="None is stated; the data were published for teaching",
    limits=(
        "Prices are dollars of 2006 to 2010: nothing is corrected for inflation or for the market since.",
        "It knows Ames alone: a price elsewhere means nothing, and neighborhoods are those of the city then.",
        "Sales between relatives, foreclosures and houses sold unfinished are few in the data, and less exact.",
        "It must not decide alone on a loan, a tax or a purchase.",
    ),
)

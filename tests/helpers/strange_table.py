"""A training file of a hundred columns with what real files have: for the tests of what makes a package of a file."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from random import Random

TARGET = "Net result, k€"
#: Columns that no model can use, and what they are.
LEFT_OUT = {
    "constant": "constant",
    "row id": "identifier",
    "uuid": "distinct texts",
    "empty": "no value",
    "comment": "free text",
    "mixed dates": "more than one format",
    "nearly numeric": "other cells",
    "with separators": "separators",
    "mixed zones": "time zone",
}
#: Columns and the kind that they are inferred as.
KINDS = {
    "sold.on": "date",
    "signed (d.m.Y)": "date",
    "updated at": "datetime",
    "logged (UTC)": "datetime",
    "is.promo": "boolean",
    "paid?": "boolean",
    "flag 01": "boolean",
    "TRUE/FALSE": "boolean",
    "pieces with nulls": "integer",
    'the "quoted" one': "number",
    "#rank": "integer",
    "two\nlines": "number",
    "größe": "number",
    "名前": "category",
    "shop": "category",
    "zip": "category",
    " padded ": "category",
    "Meta": "category",
    "leak": "number",
}


def strange_table(n_rows: int = 1500, seed: int = 20240, delimiter: str = ",") -> bytes:
    """The file as CSV: a header and ``n_rows`` rows; the target has either sign."""
    random = Random(seed)
    n_numbers = 100 - 1 - len(KINDS) - len(LEFT_OUT)
    header = [*KINDS, *LEFT_OUT, *(f"x.{number}" for number in range(n_numbers)), TARGET]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    for number in range(n_rows):
        day = date(2019, 1, 1) + timedelta(random.randrange(1500))
        moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=random.randrange(1_000_000))
        size, promo, shop = random.uniform(1, 9), random.random() < 0.3, random.randrange(1000)
        result = 3 * size - 12 + 4 * promo + (day.year - 2021) + (shop % 7) / 3 + random.gauss(0, 0.7)
        numbers = [round(random.gauss(0, 10 ** random.randrange(4)), 3) for _ in range(n_numbers)]
        row = {
            "sold.on": day.isoformat(),
            "signed (d.m.Y)": (day + timedelta(3)).strftime("%d.%m.%Y"),
            "updated at": moment.strftime("%Y-%m-%d %H:%M:%S"),
            "logged (UTC)": moment.isoformat().replace("+00:00", "Z"),
            "is.promo": ("yes", "no")[not promo],
            "paid?": random.choice(["True", "false", "TRUE", ""]),
            "flag 01": random.choice("01"),
            "TRUE/FALSE": random.choice(["TRUE", "FALSE"]),
            "pieces with nulls": random.choice(["", f"{random.randrange(50)}.0"]),
            'the "quoted" one': size * 2 + random.random(),
            "#rank": random.randrange(30),
            "two\nlines": random.gauss(0, 1),
            "größe": size,
            "名前": random.choice(["赤", "青", 'quote"d', "a,b", "x;y", "NULL"]),
            "shop": f"shop {shop}" if number % 3 else f"shop {shop % 20}",
            "zip": f"{random.randrange(40):05d}",
            " padded ": random.choice(["a", " a", "b ", "A"]),
            "Meta": random.choice(["m", "n", ""]),
            "leak": result * 1000 + 1,
            "constant": "x",
            "row id": number + 1,
            "uuid": f"{random.getrandbits(64):016x}",
            "empty": "",
            "comment": " ".join(random.choice(["good", "bad", "late", "broken", "blue"]) for _ in range(12))
            + str(number),
            "mixed dates": day.isoformat() if number % 2 else day.strftime("%d/%m/%Y"),
            "nearly numeric": "?" if number % 40 == 7 else random.random(),
            "with separators": f"{random.randrange(1000, 9_000_000):,}",
            "mixed zones": moment.isoformat() if number % 2 else moment.strftime("%Y-%m-%dT%H:%M:%S"),
            TARGET: round(result, 3),
        }
        writer.writerow([row[name] if name in row else numbers[int(name[2:])] for name in header])
    return text.getvalue().encode()

# mypy: ignore-errors
# Its libraries are not the project's: it runs in an environment of its own.
"""The same work as people do it with ``dlt``: prices and stock, 32 workers, merged into PostgreSQL.

For comparison only. Nothing is checked, paced, repeated or logged. It reads the dealer's variables
and ``HAIER_DATABASE_URL``, as ``sequential`` does, whose addresses these are.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import dlt
import requests

BASE, COUNTY = os.environ["HAIER_BASE_URL"], os.environ["HAIER_COUNTY_CODES"]
LISTING = (
    "/yilihuo/jsh-service-goods-mall-search/api/product-info"
    "/procurable-products-out/check-procurable-products"
)
PRICES = (
    "/yilihuo/jsh-service-goods-price/api/goods-price"
    "/price-daily-sales/price-query/pt-out-list-price"
)
STOCK = "/yilihuo/jsh-service-stock-mall/api/page/stock/get-available-stock-open"
CUSTOMER, SHIP_TO = os.environ["HAIER_CUSTOMER_CODE"], os.environ["HAIER_SEND_TO_CODE"]
ACCOUNT = {
    "customerCode": CUSTOMER,
    "sendToCode": SHIP_TO,
    "passWord": os.environ["HAIER_PASSWORD"],
}
SELLER = {
    "salesCode": CUSTOMER,
    "senderCode": SHIP_TO,
    "source": "JSH-B",
    "sellerPassword": os.environ["HAIER_SELLER_PASSWORD"],
}
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))


def post(url, body):
    response = session.post(url, json=body, timeout=30)
    response.raise_for_status()
    answer = response.json()
    return answer["data"] if isinstance(answer, dict) and "data" in answer else answer


def codes():
    asked = {"supplierCode": os.environ["HAIER_SUPPLIER_CODE"], "searchType": "PTJSH"}
    return [p["productCode"] for p in post(BASE + LISTING, ACCOUNT | asked) if p["isSales"] == "1"]


@dlt.resource(primary_key="productCode", write_disposition="merge")
def prices(products, pool):
    batches = [products[start : start + 20] for start in range(0, len(products), 20)]
    asked = [ACCOUNT | {"productCodes": batch, "priceType": "PT"} for batch in batches]
    yield from pool.map(lambda body: post(BASE + PRICES, body), asked)


@dlt.resource(primary_key=("productCode", "secCode"), write_disposition="merge")
def stock(products, pool):
    def ask(code):
        found = post(BASE + STOCK, SELLER | {"productCode": code, "countyCode": COUNTY})
        return [warehouse | {"productCode": code} for warehouse in found]

    yield from pool.map(ask, products)


def main():
    credentials = {
        "client_id": os.environ["HAIER_CLIENT_ID"],
        "client_secret": os.environ["HAIER_CLIENT_SECRET"],
        "grant_type": "client_credentials",
    }
    token = post(os.environ["HAIER_TOKEN_URL"], credentials)
    session.headers["Authorization"] = token.get("token") or token["access_token"]
    pipeline = dlt.pipeline(
        "haier_peer",
        destination=dlt.destinations.postgres(os.environ["HAIER_DATABASE_URL"]),
        dataset_name="peer",
        pipelines_dir=os.environ["HAIER_HOME"],
    )
    with ThreadPoolExecutor(32) as pool:
        products = codes()
        pipeline.run([prices(products, pool), stock(products, pool)])


if __name__ == "__main__":
    main()

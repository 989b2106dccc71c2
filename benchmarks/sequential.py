"""The loop that people write first: product by product, call after call, row after row.

For comparison only. It asks the same platform for the same products, one price call and one stock
call for each, and saves each product before it goes on. No threads, no pooled connection, no
repetition, no log. It reads the dealer's variables and ``HAIER_DATABASE_URL``.
"""

import os
from typing import Any

import psycopg
import requests

MALL = "/yilihuo/jsh-service-goods-mall-search/api/product-info/procurable-products-out"
LISTING = f"{MALL}/check-procurable-products"
PRICE = (
    "/yilihuo/jsh-service-goods-price/api/goods-price"
    "/price-daily-sales/price-query/pt-out-list-price"
)
STOCK = "/yilihuo/jsh-service-stock-mall/api/page/stock/get-available-stock-open"

TABLE = """
CREATE TABLE IF NOT EXISTS sequential_product (
    product_code text PRIMARY KEY, model text, supply_price numeric, stock integer)
"""
SAVE = """
INSERT INTO sequential_product VALUES (%s, %s, %s, %s)
ON CONFLICT (product_code) DO UPDATE SET model = excluded.model,
    supply_price = excluded.supply_price, stock = excluded.stock
"""


def main() -> None:
    base = os.environ["HAIER_BASE_URL"]
    credentials = {
        "client_id": os.environ["HAIER_CLIENT_ID"],
        "client_secret": os.environ["HAIER_CLIENT_SECRET"],
        "grant_type": "client_credentials",
    }
    token = _post(os.environ["HAIER_TOKEN_URL"], credentials, {})["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    customer = {
        "customerCode": os.environ["HAIER_CUSTOMER_CODE"],
        "sendToCode": os.environ["HAIER_SEND_TO_CODE"],
        "passWord": os.environ["HAIER_PASSWORD"],
    }
    supplier = {"supplierCode": os.environ["HAIER_SUPPLIER_CODE"], "searchType": "PTJSH"}
    seller = {
        "salesCode": os.environ["HAIER_CUSTOMER_CODE"],
        "senderCode": os.environ["HAIER_SEND_TO_CODE"],
        "source": "JSH-B",
        "sellerPassword": os.environ["HAIER_SELLER_PASSWORD"],
    }
    with psycopg.connect(os.environ["HAIER_DATABASE_URL"], autocommit=True) as database:
        database.execute(TABLE)
        for product in _post(base + LISTING, customer | supplier, headers):
            if str(product["isSales"]) != "1":
                continue
            code = product["productCode"]
            asked = customer | {"productCodes": [code], "priceType": "PT"}
            prices = _post(base + PRICE, asked, headers)["data"]
            price = prices[0].get("supplyPrice") if prices else None
            stock = 0
            for county in os.environ["HAIER_COUNTY_CODES"].split(","):
                asked = seller | {"productCode": code, "countyCode": county}
                warehouses = _post(base + STOCK, asked, headers)["data"]
                stock += sum(int(warehouse["stock"]) for warehouse in warehouses)
            database.execute(SAVE, (code, product.get("productModel"), price, stock))


def _post(url: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    response = requests.post(url, json=body, headers=headers, timeout=30)
    response.raise_for_status()
    return response.json()


if __name__ == "__main__":
    main()

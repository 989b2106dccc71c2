"""The words of the admin pages in Chinese; the English ones stand where they are used.

What types and statuses of the log are called is in ``catalog.log``. Sentences that come from
elsewhere - a log message, an error, what a check found - are shown as they are.
"""

from collections.abc import Mapping
from typing import Final

#: What moved, in English and Chinese.
CHANGE_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "appeared": ("appeared", "新上架"),
    "vanished": ("vanished", "已下架"),
    "back": ("back", "重新上架"),
    "price_up": ("price up", "涨价"),
    "price_down": ("price down", "降价"),
    "sold_out": ("sold out", "售罄"),
    "restocked": ("restocked", "补货"),
}

CHINESE: Final[Mapping[str, str]] = {
    # Frame
    "Haier pipeline": "海尔商品同步",
    "Pages": "页面",
    "Overview": "总览",
    "Dealers": "经销商",
    "Sync log": "同步日志",
    "Catalog": "商品目录",
    "Products": "商品",
    "Stock": "库存",
    "Changes": "变动",
    "Rejected records": "被拒记录",
    "operator": "操作员",
    "reader": "只读",
    "Sign in": "登录",
    "Sign out": "退出登录",
    "All times are Shanghai time.": "所有时间均为上海时间。",
    "Error": "错误",
    # Login
    "Token": "令牌",
    "This token is not known.": "令牌无效。",
    "An operator's token may act, a reader's may look. The session ends after eight hours.": (
        "操作员令牌可以操作，只读令牌只能查看。登录八小时后自动失效。"
    ),
    "No token is configured, so nobody can sign in. Make one with “haier token create --name me "
    "--role operator” and set HAIER_API_TOKENS.": (
        "尚未配置令牌，无人可以登录。请用 “haier token create --name me --role operator” "
        "生成令牌，并设置 HAIER_API_TOKENS。"
    ),
    # Times and amounts
    "just now": "刚刚",
    "{n} min ago": "{n} 分钟前",
    "{n} h ago": "{n} 小时前",
    "{n} days ago": "{n} 天前",
    "{n} s": "{n} 秒",
    "{m} min {s} s": "{m} 分 {s} 秒",
    # Filters and lists
    "all": "全部",
    "yes": "是",
    "no": "否",
    "none": "无",
    "Filter": "筛选",
    "Clear": "清除",
    "Show": "显示",
    "show": "查看",
    "log": "日志",
    "First page": "首页",
    "Next page": "下一页",
    "Nothing here.": "没有数据。",
    "Nothing.": "无。",
    "Dealer": "经销商",
    "Day": "日期",
    "Type": "类型",
    "Status": "状态",
    "Run": "运行",
    "Message": "消息",
    "Message contains": "消息包含",
    # Overview
    "Needs attention": "需要处理",
    "Followers over REST": "REST 增量读取方",
    "Open transactions that have changed the catalog; their changes are sent when they end:": (
        "以下未结束的事务已修改目录，事务结束后增量读取方才能读到这些变更："
    ),
    "Everything that was changed can be read.": "所有变更均可读取。",
    "Last sync": "最近同步",
    "When": "时间",
    "Duration": "耗时",
    "Products and prices of": "商品与价格更新于",
    "Stock of": "库存更新于",
    "Syncs, {n} days": "同步次数（{n} 天）",
    "Success": "成功率",
    "Errors": "失败率",
    "disabled": "已停用",
    "stale": "已过期",
    "never synced": "从未同步",
    "The last two weeks": "最近两周",
    "Syncs a day": "每日同步次数",
    "Duration of a sync, seconds": "单次同步耗时（秒）",
    "Calls to the platform a day": "每日平台调用次数",
    "average": "平均",
    "longest": "最长",
    "answered": "已应答",
    "refused": "被限流",
    "Nothing in these two weeks.": "最近两周没有数据。",
    "{day}: {success} succeeded, {partial} partial, {failed} failed": (
        "{day}：成功 {success}，部分成功 {partial}，失败 {failed}"
    ),
    "{day}: {average} on average, the longest {longest}": "{day}：平均 {average}，最长 {longest}",
    "{day}: {calls} calls, {refused} of them refused": (
        "{day}：调用 {calls} 次，其中被限流 {refused}"
    ),
    # Log
    "No.": "编号",
    "Noted at": "记录时间",
    "Step": "步骤",
    "Worked / all": "成功 / 总数",
    "Checks": "检查",
    "The sync is at work; this page looks again every three seconds.": (
        "同步进行中，本页每三秒自动刷新。"
    ),
    "Sync date": "同步日期",
    "{n} failed": "失败 {n}",
    "Began at": "开始时间",
    "Ended at": "结束时间",
    "Attempt": "尝试次数",
    "Result": "结果",
    "Check": "检查项",
    "Severity": "级别",
    "What was found": "检查结果",
    "passed": "通过",
    "failed": "未通过",
    "error": "错误",
    "warning": "警告",
    "What it reported": "运行数据",
    # Catalog
    "Code": "编码",
    "Name": "名称",
    "Brand": "品牌",
    "Model": "型号",
    "Product group": "产品组",
    "Code, name or model contains": "编码、名称或型号包含",
    "May be bought": "可采购",
    "In stock": "有库存",
    "Supply price": "供货价",
    "Invoice price": "开票价",
    "Market price": "市场价",
    "Shop's price": "店铺售价",
    "Direct discount": "直扣率",
    "Rebate": "返利金额",
    "Kind of rebate": "返利类型",
    "normal": "普通（COM）",
    "no rebate": "不返利（BF）",
    "firewall": "防火墙（FHQ）",
    "fixed price": "365平台定价（DTDBF）",
    "Picture": "图片",
    "Detail pictures": "详情图",
    "Last changed": "最近变更",
    "First seen": "首次出现",
    "Product code": "商品编码",
    "County code": "区县编码",
    "County": "区县",
    "Warehouse": "仓库",
    "Grade": "仓库级别",
    "Quantity": "数量",
    "Counts": "计入库存",
    "own level": "本级",
    "upper level": "上级",
    "Transshipped": "转运",
    "Delivery, hours": "配送时效（小时）",
    "Expected delivery": "预计送达",
    "Synced at": "同步时间",
    "What moved": "变动类型",
    "Before": "变动前",
    "After": "变动后",
    "Reason": "原因",
    "What the platform sent": "平台原始数据",
    # Dealers
    "New dealer": "新增经销商",
    "No dealer is active, so syncs use the built-in sandbox.": (
        "没有启用的经销商，同步使用内置沙箱。"
    ),
    "Its products and prices are made up.": "其中的商品和价格均为虚构。",
    "No dealer is stored yet.": "还没有保存经销商。",
    "State": "状态",
    "active": "已启用",
    "replaced by the environment": "已被环境变量取代",
    "from the environment": "来自环境变量",
    "Changed at": "修改时间",
    "Sold-to party": "售达方",
    "Ship-to party": "送达方",
    "Counties": "区县",
    "Address of the platform": "平台地址",
    "Sync now": "立即同步",
    "Test connection": "测试连接",
    "Enable": "启用",
    "Disable": "停用",
    "Save": "保存",
    "Store the dealer": "保存经销商",
    "Back": "返回",
    "required": "必填",
    "set; leave blank to keep it": "已设置，留空则保持不变",
    "not set": "未设置",
    "Forget it": "清除",
    "Account at the platform": "平台账号",
    "What is synced": "同步范围",
    "Client id": "客户端 ID",
    "Client secret": "客户端密钥",
    "Account password": "账号密码",
    "Seller password": "售达方密码",
    "Customer password": "客户密码",
    "Supplier": "供应商",
    "Calls a second": "每秒调用次数",
    "Interfaces": "接口地址",
    "Tokens": "令牌地址",
    "Sync this dealer": "启用同步",
    "As it appears in logs and tables; it cannot be changed later. At most 50 characters, without "
    "comma.": "用于日志和数据表，之后不能修改。最多 50 个字符，不含逗号。",
    "Your code at Haier, ten digits such as 8800123456.": (
        "您在海尔的编码（“88 码”），十位数字，例如 8800123456。"
    ),
    "Ten digits too, often not those of the sold-to party.": "也是十位数字，常与售达方编码不同。",
    "Optional; left blank, the account password is used.": "选填；留空则使用账号密码。",
    "Six-digit county codes, separated by commas. Each county costs one call for each product.": (
        "六位区县编码，以逗号分隔。每个区县对每个商品需要调用一次。"
    ),
    "1001 is Haier itself.": "1001 为海尔自营。",
    "100 is from an older note of Haier's (V1.0.7). Lower it where Haier allows you less or "
    "refuses calls.": "100 出自海尔较早的说明（V1.0.7）；额度更低或调用被拒绝时请调低。",
    "Another host asks for all secrets again.": "更换主机后需要重新填写所有密钥和密码。",
    "Retail orders": "零售订单",
    "Optional, and all of it together: without it the catalog is synced and no order is sent. "
    "Haier gives the credentials; AppKey and secret are yours to choose and to tell Haier.": (
        "可选，须整套填写：不填时只同步商品，不发送订单。账号由海尔提供；"
        "AppKey 和密钥由您自定并告知海尔。"
    ),
    "Order client id": "订单客户端 ID",
    "Order client secret": "订单客户端密钥",
    "Order user": "订单用户名",
    "Order password": "订单密码",
    "Source system": "来源系统",
    "The short name of your system, agreed with Haier.": "与海尔约定的系统简称。",
    "Shop": "店铺",
    "Callback AppKey": "回调 AppKey",
    "Callback secret": "回调密钥",
    "Previous callback secret": "旧回调密钥",
    "Accepted too, while the secret is being changed.": "更换密钥期间，旧密钥也有效。",
    "Order as": "下单编码",
    "Left blank, the sold-to party's code.": "留空则使用售达方编码。",
    "Order address": "订单接口地址",
    "Follows the address of the platform where that is Haier's. Another host asks for the secrets "
    "of the order side again.": (
        "平台地址为海尔环境时自动对应。更换主机后需要重新填写订单侧的密钥和密码。"
    ),
    "Order calls a second": "订单每秒调用次数",
    "Hours until a confirmation is overdue": "确认超时（小时）",
    "This dealer comes from the variables of the environment; it can only be changed there.": (
        "该经销商来自环境变量，只能在那里修改。"
    ),
    "Keys that are not known here and are left as they are:": "此处不认识、保持原样的键：",
    "The variables of the environment make up a dealer of this name, and they win over what is "
    "stored here.": "环境变量定义了同名经销商，并优先于此处保存的配置。",
    "This cannot be stored.": "无法保存。",
    # What came of an action
    "The dealer is stored. Test its connection next.": "经销商已保存。接下来请测试连接。",
    "The changes are stored.": "修改已保存。",
    "The dealer is enabled.": "经销商已启用。",
    "The dealer is disabled. A sync at work stops at its next batch.": (
        "经销商已停用。进行中的同步将在下一批次停止。"
    ),
    "The connection works.": "连接正常。",
    "The platform gives no token.": "无法从平台获取令牌。",
    "The token works, the listing does not.": "令牌正常，但商品列表调用失败。",
    "The sync is accepted.": "同步已受理。",
    "That did not work.": "操作未成功。",
}

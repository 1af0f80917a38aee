"""The status page's words in Chinese, and which language a reader is shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from config.language import CHINESE as CHINESE_LANGUAGE
from config.language import ENGLISH, N_, spoken
from config.language import _ as marked

LANGUAGES = {"en": ENGLISH, "zh": CHINESE_LANGUAGE}
STATES = (N_("synchronized"), N_("unsynchronized"), N_("unknown"), N_("good"), N_("uncertain"), N_("bad"))

CHINESE: Mapping[str, str] = {
    "All meters are read.": "所有表计读数正常。",
    "needs attention": "项需要处理",
    "need attention": "项需要处理",
    "What needs attention": "需要处理的问题",
    "Check first:": "首先检查：",
    "Meters": "表计",
    "Lines": "线路",
    "Delivery": "数据上传",
    "Ledger and clock": "账本与时钟",
    "line": "线路",
    "open": "状态",
    "yes": "连接正常",
    "no": "未连接",
    "busy": "占用",
    "waiting": "等待",
    "overruns": "超时轮询",
    "last hour": "近一小时",
    "destination": "目的地",
    "state": "状态",
    "delivered": "已送达",
    "connected": "已连接",
    "not connected": "未连接",
    "No destination: readings stay in the ledger.": "未配置目的地：读数保存在账本中。",
    "records": "记录数",
    "newest record": "最新记录",
    "newest checkpoint covers": "最新检查点覆盖",
    "its hash": "哈希值",
    "clock": "时钟",
    "synchronized": "已同步",
    "unsynchronized": "未同步",
    "unknown": "未知",
    "off by at most": "误差不超过",
    "today": "今日",
    "complete": "完整率",
    "never read": "尚未读取",
    "ago": "前",
    "not evidence grade": "未达证据等级",
    "certificate": "检定证书",
    "no reading since": "自此时起无读数：",
    "polls missed": "次轮询缺失",
    "place": "安装地点",
    "serial number": "出厂编号",
    "model": "型号",
    "address": "地址",
    "quantity": "量",
    "value": "数值",
    "unit": "单位",
    "quality": "质量",
    "good": "良好",
    "uncertain": "可疑",
    "bad": "无效",
    "Newest values": "最新数值",
    "Last day": "最近一天",
    "Last month": "最近一月",
    "Nothing was read in this time.": "此期间没有读数。",
    "No day is closed yet.": "尚无已结算的日数据。",
    "per day": "每日",
    "per": "每",
    "every": "每",
    "read": "已读",
    "due": "应读",
    "All meters": "全部表计",
    "Trace": "溯源",
    "Record": "记录",
    "byte by byte": "逐字节解释",
    "Where a value comes from: click it.": "点击数值可查看其来源。",
    "page: everybody who reaches {address} can read all values; it has no password": (
        "page：凡能访问 {address} 的人都能读取全部数值；本页面没有密码"
    ),
    "what serves the page is not installed: pip install meterseal[page], or take this line out": (
        "未安装页面服务所需的软件包：pip install meterseal[page]，或删去此行"
    ),
    "Open this page under the gateway's address or its own name.": "请用网关的地址或其自身名称打开本页面。",
    "This page is not here.": "没有此页面。",
    "This page can only be read.": "本页面只读。",
    "The ledger cannot be read now.": "目前无法读取账本。",
    "nothing read yet": "尚未读取",
    "Time": "时间",
    "as of": "截至",
}


def _(message: str, **values: object) -> str:
    """A message in the language that is spoken: from the catalog, else as it stands here; English where neither has it."""
    said = marked(message)
    if said == message and spoken() == CHINESE_LANGUAGE:
        said = CHINESE.get(message, message)
    return said.format(**values) if values else said


def language_of(asked: str, accepted: str) -> str:
    """The language to show.

    Args:
        asked: what the address says (`?lang=zh`); empty where it says nothing.
        accepted: the browser's Accept-Language (RFC 9110, 12.5.4).
    """
    for wanted in (asked, *_by_preference(accepted)):
        if (language := wanted.strip().lower().split("-")[0]) in LANGUAGES:
            return language
    return "en"


def _by_preference(accepted: str) -> list[str]:
    ranges = []
    for part in accepted[:200].split(","):
        name, _, parameter = part.partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            quality = 0.0
        ranges.append((quality, name))
    return [name for quality, name in sorted(ranges, key=lambda each: -each[0]) if quality > 0]

"""What settings must name before the service is built from them."""

from pathlib import Path

import orjson
import pytest

from chains.rpc.addresses import parse_endpoints
from chains.signing.keystore import DEFAULT_SCRYPT_N, Keystore
from service.auth.secrets import MasterKey
from service.build import ChainNotConfigured, build
from service.settings import Settings

BASE = """
[base]
chain_id = 8453
name = "Base"
native_symbol = "ETH"
native_slip44 = 60
wrapped_native = "0x4200000000000000000000000000000000000006"
block_time_ms = 2000

[base.fees]
max_fee_cap_wei = "100000000000"
priority_floor_wei = "1000000"
priority_cap_wei = "5000000000"
max_tx_cost_wei = "10000000000000000"

[base.finality]
confirmed_depth = 5
use_finalized_tag = true
min_final_depth = 10
"""


async def test_a_chain_that_is_described_but_has_no_listed_assets_is_refused_by_name(tmp_path: Path) -> None:
    described, key = tmp_path / "chains.toml", tmp_path / "master.key"
    described.write_text(BASE)
    MasterKey.create(key)
    rpc = {"base": parse_endpoints("http://127.0.0.1:9", chain="base")}
    settings = Settings(data_dir=tmp_path / "data", master_key_file=key, chains_file=described, rpc=rpc)
    with pytest.raises(ChainNotConfigured, match="no assets and contracts are listed for base"):
        await build(settings)


@pytest.mark.deep  # A second, and 256 MB.
async def test_a_key_file_costs_who_guesses_its_password_what_geths_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.build.Keystore", Keystore)
    key = tmp_path / "master.key"
    MasterKey.create(key)
    services = await build(Settings(data_dir=tmp_path / "data", master_key_file=key))
    try:
        services.keystore.create("password")
    finally:
        await services.close()
    [file] = services.settings.keystore_dir.iterdir()
    assert orjson.loads(file.read_bytes())["crypto"]["kdfparams"]["n"] == DEFAULT_SCRYPT_N

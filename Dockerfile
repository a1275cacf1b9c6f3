# The service alone: no tests, no local chains. Data and keys live in volumes, never in the image.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/cambist \
 && /opt/cambist/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY abis ./abis
COPY chains ./chains
COPY contracts ./contracts
COPY service ./service
# As scripts/setup.sh does: the packages on the path, nothing built from outside the lock.
RUN site="$(/opt/cambist/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')" \
 && cp -r abis chains contracts service "$site/" \
 && printf '#!/opt/cambist/bin/python\nimport sys\nfrom service.cli import main\nsys.exit(main())\n' > /opt/cambist/bin/cambist \
 && chmod +x /opt/cambist/bin/cambist

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin cambist \
 && install -d -o cambist -g cambist -m 0700 /data /keys
COPY --from=build /opt/cambist /opt/cambist
ENV PATH=/opt/cambist/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CAMBIST_DATA_DIR=/data \
    CAMBIST_MASTER_KEY_FILE=/keys/master.key \
    CAMBIST_KEYSTORE_PASSWORD_FILE=/keys/keystore-password
USER cambist
WORKDIR /home/cambist
VOLUME ["/data", "/keys"]
STOPSIGNAL SIGTERM
CMD ["cambist", "serve"]

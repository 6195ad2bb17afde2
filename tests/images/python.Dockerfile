# A stand-in for a Python base image, made from a plain Debian: `python`, a pip that may install, and the certificates and
# package index of the machine that builds it.
ARG BASE
FROM ${BASE}
LABEL session-reactor-test=image
RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED \
 && ln -s /usr/bin/python3 /usr/local/bin/python \
 && ln -s /usr/bin/python3 /usr/local/bin/python3
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
ENV LANG=C.UTF-8 PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_ROOT_USER_ACTION=ignore
CMD ["python3"]

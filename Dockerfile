# Builds a static binary and copies it into an image that runs it as an unprivileged
# user. Without VERSION, the version is the commit of the build, which the ledger
# records with every file. So .dockerignore must not exclude tracked files.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -tags allstores,disable_grpc_modules -ldflags "-s -w -X main.version=${VERSION}" -o /out/tally ./cmd/tally
RUN mkdir /out/tmp

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/tally /tally
# A volume that is mounted here gets this owner.
COPY --from=build --chown=65532:65532 /out/tmp /var/tmp/tally
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/tally"]
CMD ["up", "--listen", "0.0.0.0:8080"]

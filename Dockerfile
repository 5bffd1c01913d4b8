# Builds one static binary and ships it alone, as an unprivileged user. Without
# VERSION it takes the commit it was built from, which the ledger notes with
# every file, for its version; so no file that git knows is kept from the build.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -tags disable_grpc_modules -ldflags "-s -w -X main.version=${VERSION}" -o /out/tally ./cmd/tally

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/tally /tally
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/tally"]
CMD ["up", "--listen", "0.0.0.0:8080"]

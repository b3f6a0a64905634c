# The image of the penstock binary, from the repository's root: docker build --build-arg VERSION=0.1.0 -t penstock:0.1.0 .
# Several platforms: docker buildx build --platform linux/amd64,linux/arm64 .
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH=amd64
# What penstock version says.
ARG VERSION=
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH
# controllers is a module of its own, which takes the library from the folder above.
WORKDIR /src/controllers
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -buildvcs=false -ldflags="-s -w -X github.com/penstock-dev/penstock/controllers/traffic.version=$VERSION" -o /out/penstock ./cmd/penstock

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/penstock /penstock
COPY --from=build /src/LICENSE /LICENSE
USER 65532:65532
ENTRYPOINT ["/penstock"]
CMD ["controller"]

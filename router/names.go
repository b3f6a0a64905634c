package router

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/penstock-dev/penstock/internal/state"
)

// Annotations that Skipper reads:
// https://opensource.zalando.com/skipper/kubernetes/ingress-usage/
const (
	predicateAnnotation      = "zalando.org/skipper-predicate"
	filterAnnotation         = "zalando.org/skipper-filter"
	backendWeightsAnnotation = "zalando.org/backend-weights"
	routesAnnotation         = "zalando.org/skipper-routes"
	pathModeAnnotation       = "zalando.org/skipper-ingress-path-mode"
)

// Keys of our own on generated Ingresses.
const (
	// canaryLabel names the Canary that an Ingress was generated for; it is the same key as on the router's ConfigMap.
	canaryLabel = state.Label
	// apexAnnotation holds, as one JSON object, those annotations of the apex Ingress that the split changes or adds to, so
	// that SetRoutes need not read the apex Ingress.
	apexAnnotation = "penstock.dev/apex-annotations"
	// extrasAnnotation lists the suffixes of the further Ingresses that may exist beside the canary Ingress.
	extrasAnnotation = "penstock.dev/extra-ingresses"
	// mirroredAnnotation is "true" on the canary Ingress while requests are mirrored.
	mirroredAnnotation = "penstock.dev/mirrored"
	// matchedAnnotation is "true" on the canary Ingress while its weights are those of requests that match.
	matchedAnnotation = "penstock.dev/matched"
	// sinceAnnotation is when SetRoutes last changed the routes (RFC 3339, UTC).
	sinceAnnotation = "penstock.dev/routes-since"
)

// external-dns leaves an Ingress alone whose controller annotation is neither empty nor its own; the hosts are published from
// the apex Ingress:
// https://kubernetes-sigs.github.io/external-dns/v0.21.0/docs/annotations/annotations/
const (
	externalDNSControllerAnnotation = "external-dns.alpha.kubernetes.io/controller"
	externalDNSController           = "penstock"
)

// ingressClassAnnotation is how an Ingress chose its class before spec.ingressClassName; Skipper still reads it.
const ingressClassAnnotation = "kubernetes.io/ingress.class"

// canaryIngressName returns the name of the canary Ingress, which is that of Flagger's router.
func canaryIngressName(apex string) string { return apex + "-canary" }

// extraIngressName returns the name of a further generated Ingress. The double dash is what Flagger's metric query for Skipper
// matches beside the canary Ingress itself:
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/metrics/observers/skipper.go
func extraIngressName(apex, suffix string) string { return canaryIngressName(apex) + "--" + suffix }

// labelValue returns a Canary's name as the value of a label, which is at most 63 characters long; a longer name is cut and
// ends in a part of its hash.
func labelValue(canary string) string {
	const longest, hashed = 63, 8
	if len(canary) <= longest {
		return canary
	}
	sum := sha256.Sum256([]byte(canary))
	head := strings.TrimRight(canary[:longest-hashed-1], "-.")
	return head + "-" + hex.EncodeToString(sum[:])[:hashed]
}

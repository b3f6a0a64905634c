// Package router holds Flagger routers: implementations of [Interface] that turn a Canary and a pair of route weights
// into what a data plane reads.
//
// [Skipper] (provider "skipper") splits inside one cluster. Into it go a Canary and its apex Ingress; out come the canary
// Ingress `<ingress>-canary`, whose annotations carry the weights, and, for A/B testing, mirroring and session affinity, a few
// more named `<ingress>-canary--<suffix>`. Skipper routes by them; the router owns them and nothing else. The apex Ingress is
// only read.
//
// All durable state is in those objects, because Flagger builds a router on every tick and asks it for the weights.
package router

// Package penstock is the root of a library of progressive-delivery routers for Flagger.
//
// Traffic meets the packages in this order:
//
//   - router implements Flagger's router interface: it turns a Canary and a pair of route weights into
//     Ingress annotations (Skipper) or into a wish for the cluster's DNS (DNSWeighted);
//   - weights is the arithmetic in between: percentages, record weights, splits, exposure;
//   - dns plans the record sets of a cluster and publishes them: the cluster publisher is the one writer of
//     a cluster's records;
//   - dns/externaldns and dns/route53 are the backends that make those records real.
//
// The design decisions are in docs/adr, the user's documentation in README.md and docs.
package penstock

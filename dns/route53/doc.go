// Package route53 is the [dns.Backend] that writes a cluster's records through the API of Amazon Route 53.
//
// Into Publish go the records of Ingresses; out come change batches, one for each hosted zone and step, filled to the limits
// that Route 53 documents. All that a Publication changes in a zone stands in one batch, which Route 53 applies completely
// or not at all. Nothing is written when nothing differs. A change is in sync when GetChange says INSYNC; a change that
// Route 53 no longer knows, or whose id was lost with an earlier process, is submitted again, identical, and that one awaited.
//
// # Ownership
//
// Each name of a host or below it has an ownership record, written in the same batch: for www.example.com in the zone
// example.com and the cluster east
//
//	www.east._penstock.example.com TXT "heritage=penstock,cluster=east,ingress=shop/web,records=A/east;AAAA/east"
//
// It names the Ingress, and each record set by type and set identifier. What no ownership record of the Ingress names is
// never changed or deleted: where it is in the way, the Publication is refused with an error that says whose it is. All
// ownership records of a cluster stand below one name, `<cluster>._penstock.<zone>`, so a new process finds all that its
// cluster has in a zone with one call for each 300 names. A record that external-dns owns is taken over only if
// [Options.AdoptExternalDNS] names its owner id; the TXT record of external-dns goes in the same batch.
//
// # Calls
//
// All calls of a Backend share a request bucket without bursts. What is throttled or unavailable is repeated after an
// exponential pause with jitter until [Options.CallTimeout]; the SDK's standard retryer decides what is worth it. An idle
// Publication costs one ListResourceRecordSets, shared with its neighbours in the zone; a step one more
// ChangeResourceRecordSets; waiting one GetChange for each change and poll interval, however many wait for it.
//
// The files follow a call: publish.go (what is asked for), zones.go, records.go and ownership.go (what that means in
// Route 53), read.go, plan.go (pure: the changes), write.go and batch.go, change.go (in sync), call.go (the API).
package route53

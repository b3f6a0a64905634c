// Package route53emulator is a strict stand-in for Amazon Route 53, for tests and demonstrations: its REST/XML API, and
// authoritative DNS servers that answer from what is in sync. It refuses whatever Route 53 refuses, and each of its
// rules is written from AWS' public documentation, whose page is linked beside the rule.
//
// # What is emulated
//
//   - hosted zones, their tags, and record sets with simple and weighted routing, alias or not;
//   - change batches: validated as a whole, applied completely or not at all, within the documented limits;
//   - changes that are PENDING, and become INSYNC after [Options.SyncDelay] on an injected clock. Every DNS server answers
//     from the state that is in sync, and may lag behind (Options.Lag): a change is INSYNC when the last server has it;
//   - health checks whose status a test sets, and the way in which they steer weighted and alias answers;
//   - load balancers: hostnames of Elastic Load Balancing that a test registers, as alias targets and as names;
//   - throttling by the documented request buckets, refused credentials, and faults at a chosen call.
//
// # What is not
//
// Other routing policies (latency, failover, geolocation, geoproximity, multivalue, CIDR), traffic policies, private
// zones, DNSSEC, reusable delegation sets and change-based throttling are refused with InvalidInput or are
// unknown to the API. Signatures are not verified: a request must merely name an access key. Texts of errors are the
// emulator's own; codes, HTTP statuses and the shape of the XML are Route 53's.
//
// Where the documentation is silent, the stricter reading was taken:
//
//   - an alias target in the same zone must exist before the batch or by an earlier change of it;
//   - a batch may change one record set once, or DELETE and then CREATE it;
//   - what a record's neighbours allow (routing policy, TTL of a weighted set, CNAME) is judged by the state after the batch.
//
// An alias may be left without its target by a later batch; it then has no answer. Zones of one name share the name
// servers, which serve the oldest of them.
//
// # Where to read
//
// The files follow a request: api.go and xml.go (HTTP), faults.go (what may stand before an operation), zones_api.go,
// records_api.go and healthcheck.go (the operations), validate.go (a batch becomes a new state), state.go (zones, their
// versions and changes), nameserver.go and serve.go (DNS answers from a snapshot), loadbalancer.go (alias targets).
package route53emulator

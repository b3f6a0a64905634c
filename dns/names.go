package dns

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

const (
	// maxName is the length of a domain name as text, without the final dot, and maxLabel that of a label: RFC 1035, 2.3.4.
	maxName, maxLabel = 253, 63
	// maxCluster leaves room beside the cluster's label for what a backend puts before it.
	maxCluster = 57
)

// The labels of what stands below a host.
const (
	canaryLabel    = "_canary"
	addressesLabel = "_addresses"
)

var (
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	hostName = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
)

// ClusterLabel returns the DNS label that stands for a cluster in the names below a host: its name, or, when that is no label of
// at most 57 characters, a hash of it.
func ClusterLabel(cluster string) string {
	if len(cluster) <= maxCluster && dnsLabel.MatchString(cluster) {
		return cluster
	}
	sum := sha256.Sum256([]byte(cluster))
	return "c-" + hex.EncodeToString(sum[:16])
}

// NormalHost returns a host as records name it: in lower case, without a final dot. It refuses what is no domain name of at
// least two labels; a "*" may only be the whole first label.
func NormalHost(host string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if len(name) > maxName || !hostName.MatchString(name) {
		return "", fmt.Errorf("host %q is not a DNS name that can be published: use letters, digits and hyphens, such as app.example.com", host)
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > maxLabel {
			return "", fmt.Errorf("host %q: the label %q is longer than %d characters", host, label, maxLabel)
		}
	}
	return name, nil
}

// normalTarget is NormalHost for the name of a load balancer, which may be a single label, such as the localhost of a cluster on a laptop.
func normalTarget(name string) (string, error) {
	if label := strings.TrimSuffix(strings.ToLower(name), "."); len(label) <= maxLabel && dnsLabel.MatchString(label) {
		return label, nil
	}
	return NormalHost(name)
}

// Below returns the name `<cluster>.<zone label>.<host>` that belongs to a host in one cluster; a "*" is written _wildcard,
// because it may only be the first label of a name. It is an error when that is longer than a domain name can be.
func Below(cluster, label, host string) (string, error) {
	if rest, wildcard := strings.CutPrefix(host, "*."); wildcard {
		host = "_wildcard." + rest
	}
	name := ClusterLabel(cluster) + "." + label + "." + host
	if len(name) > maxName {
		return "", fmt.Errorf("host %q: the name %q is %d characters long, and a DNS name has at most %d: shorten the host or the cluster's name", host, name, len(name), maxName)
	}
	return name, nil
}

// Above returns the host that a name below it belongs to, and whether name is one of those. A "*" stays written _wildcard.
func Above(name string) (host string, below bool) {
	for _, label := range []string{canaryLabel, addressesLabel} {
		if _, host, below = strings.Cut(name, "."+label+"."); below {
			return host, true
		}
	}
	return "", false
}

// InnerName returns the name of the inner weighted set of a host: `<cluster>._canary.<host>`.
func InnerName(cluster, host string) (string, error) { return Below(cluster, canaryLabel, host) }

// addressesName returns the name of the simple records that hold the several addresses of one load balancer.
func addressesName(cluster, host string) (string, error) { return Below(cluster, addressesLabel, host) }

// namesOf returns the names below a host that records of a cluster can have: of the inner set, and of the addresses.
func namesOf(cluster, host string) (inner, addresses string, err error) {
	if inner, err = InnerName(cluster, host); err != nil {
		return "", "", err
	}
	addresses, err = addressesName(cluster, host)
	return inner, addresses, err
}

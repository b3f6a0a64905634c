package route53emulator

import (
	"encoding/xml"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// namespace of all documents: https://docs.aws.amazon.com/Route53/latest/APIReference/requests-rest.html
const namespace = "https://route53.amazonaws.com/doc/2013-04-01/"

// The shapes below are those of https://docs.aws.amazon.com/Route53/latest/APIReference/API_Types.html; only fields that
// are emulated are there, and those that must be refused.

type xmlRecordSet struct {
	Name          string
	Type          string
	SetIdentifier string `xml:",omitempty"`
	Weight        *int64
	// Routing policies that are not emulated; they are refused.
	Region                  string     `xml:",omitempty"`
	Failover                string     `xml:",omitempty"`
	GeoLocation             *xmlAny    `xml:",omitempty"`
	GeoProximityLocation    *xmlAny    `xml:",omitempty"`
	MultiValueAnswer        *bool      `xml:",omitempty"`
	CidrRoutingConfig       *xmlAny    `xml:",omitempty"`
	TrafficPolicyInstanceID string     `xml:"TrafficPolicyInstanceId,omitempty"`
	TTL                     *int64     `xml:",omitempty"`
	ResourceRecords         *xmlValues `xml:",omitempty"`
	AliasTarget             *xmlAlias  `xml:",omitempty"`
	HealthCheckID           string     `xml:"HealthCheckId,omitempty"`
}

type xmlAny struct {
	Inner string `xml:",innerxml"`
}

type xmlValues struct {
	ResourceRecord []xmlValue
}

type xmlValue struct {
	Value string
}

type xmlAlias struct {
	HostedZoneID         string `xml:"HostedZoneId"`
	DNSName              string
	EvaluateTargetHealth bool
}

func toXML(r *recordSet) xmlRecordSet {
	x := xmlRecordSet{Name: string(r.name), Type: r.recordType, SetIdentifier: r.setIdentifier, HealthCheckID: r.healthCheck}
	if r.weighted {
		x.Weight = &r.weight
	}
	if r.alias != nil {
		x.AliasTarget = &xmlAlias{HostedZoneID: r.alias.zoneID, DNSName: string(r.alias.name), EvaluateTargetHealth: r.alias.evaluateTargetHealth}
		return x
	}
	x.TTL = &r.ttl
	x.ResourceRecords = &xmlValues{}
	for _, value := range r.values {
		x.ResourceRecords.ResourceRecord = append(x.ResourceRecords.ResourceRecord, xmlValue{value})
	}
	return x
}

// sdkRecordSet returns r as the SDK presents it.
func sdkRecordSet(r *recordSet) types.ResourceRecordSet {
	set := types.ResourceRecordSet{Name: aws.String(string(r.name)), Type: types.RRType(r.recordType)}
	if r.weighted {
		set.SetIdentifier, set.Weight = aws.String(r.setIdentifier), aws.Int64(r.weight)
	}
	if r.healthCheck != "" {
		set.HealthCheckId = aws.String(r.healthCheck)
	}
	if r.alias != nil {
		set.AliasTarget = &types.AliasTarget{
			HostedZoneId: aws.String(r.alias.zoneID), DNSName: aws.String(string(r.alias.name)),
			EvaluateTargetHealth: r.alias.evaluateTargetHealth,
		}
		return set
	}
	set.TTL = aws.Int64(r.ttl)
	for _, value := range r.values {
		set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: aws.String(value)})
	}
	return set
}

// fromSDK is the inverse of sdkRecordSet, for what the emulator knows.
func fromSDK(set types.ResourceRecordSet) xmlRecordSet {
	x := xmlRecordSet{
		Name: aws.ToString(set.Name), Type: string(set.Type), SetIdentifier: aws.ToString(set.SetIdentifier),
		Weight: set.Weight, TTL: set.TTL, HealthCheckID: aws.ToString(set.HealthCheckId),
		Region: string(set.Region), Failover: string(set.Failover), MultiValueAnswer: set.MultiValueAnswer,
	}
	if set.AliasTarget != nil {
		x.AliasTarget = &xmlAlias{
			HostedZoneID: aws.ToString(set.AliasTarget.HostedZoneId), DNSName: aws.ToString(set.AliasTarget.DNSName),
			EvaluateTargetHealth: set.AliasTarget.EvaluateTargetHealth,
		}
	}
	if set.ResourceRecords != nil {
		x.ResourceRecords = &xmlValues{}
		for _, record := range set.ResourceRecords {
			x.ResourceRecords.ResourceRecord = append(x.ResourceRecords.ResourceRecord, xmlValue{aws.ToString(record.Value)})
		}
	}
	return x
}

type changeRequest struct {
	XMLName     xml.Name  `xml:"ChangeResourceRecordSetsRequest"`
	ChangeBatch *xmlBatch `xml:"ChangeBatch"`
}

type xmlBatch struct {
	Comment string
	Changes []xmlChange `xml:"Changes>Change"`
}

type xmlChange struct {
	Action            string
	ResourceRecordSet *xmlRecordSet
}

type xmlChangeInfo struct {
	ID          string `xml:"Id"`
	Status      string
	SubmittedAt string
	Comment     string `xml:",omitempty"`
}

type changeResponse struct {
	XMLName    xml.Name
	ChangeInfo xmlChangeInfo
}

type listRecordSetsResponse struct {
	XMLName              xml.Name      `xml:"ListResourceRecordSetsResponse"`
	ResourceRecordSets   xmlRecordSets `xml:"ResourceRecordSets"`
	IsTruncated          bool
	NextRecordName       string `xml:",omitempty"`
	NextRecordType       string `xml:",omitempty"`
	NextRecordIdentifier string `xml:",omitempty"`
	MaxItems             int
}

type xmlRecordSets struct {
	ResourceRecordSet []xmlRecordSet
}

type xmlZone struct {
	ID                     string `xml:"Id"`
	Name                   string
	CallerReference        string
	Config                 xmlZoneConfig
	ResourceRecordSetCount int
}

type xmlZoneConfig struct {
	Comment     string `xml:",omitempty"`
	PrivateZone bool
}

type xmlDelegationSet struct {
	NameServers []string `xml:"NameServers>NameServer"`
}

type createZoneRequest struct {
	XMLName          xml.Name `xml:"CreateHostedZoneRequest"`
	Name             string
	CallerReference  string
	HostedZoneConfig xmlZoneConfig
	VPC              *xmlAny
	DelegationSetID  string `xml:"DelegationSetId"`
}

type zoneResponse struct {
	XMLName       xml.Name
	HostedZone    xmlZone
	ChangeInfo    *xmlChangeInfo
	DelegationSet xmlDelegationSet
}

type listZonesResponse struct {
	XMLName          xml.Name
	HostedZones      xmlZones
	DNSName          string `xml:",omitempty"`
	HostedZoneID     string `xml:"HostedZoneId,omitempty"`
	Marker           string `xml:",omitempty"`
	IsTruncated      bool
	NextMarker       string `xml:",omitempty"`
	NextDNSName      string `xml:",omitempty"`
	NextHostedZoneID string `xml:"NextHostedZoneId,omitempty"`
	MaxItems         int
}

type xmlZones struct {
	HostedZone []xmlZone
}

type xmlTag struct {
	Key   string
	Value string
}

type xmlTags struct {
	Tag []xmlTag
}

type xmlTagSet struct {
	ResourceType string
	ResourceID   string `xml:"ResourceId"`
	Tags         xmlTags
}

type tagsResponse struct {
	XMLName        xml.Name `xml:"ListTagsForResourceResponse"`
	ResourceTagSet xmlTagSet
}

type tagsForResourcesRequest struct {
	XMLName     xml.Name `xml:"ListTagsForResourcesRequest"`
	ResourceIDs []string `xml:"ResourceIds>ResourceId"`
}

type tagsForResourcesResponse struct {
	XMLName         xml.Name    `xml:"ListTagsForResourcesResponse"`
	ResourceTagSets []xmlTagSet `xml:"ResourceTagSets>ResourceTagSet"`
}

type changeTagsRequest struct {
	XMLName       xml.Name `xml:"ChangeTagsForResourceRequest"`
	AddTags       []xmlTag `xml:"AddTags>Tag"`
	RemoveTagKeys []string `xml:"RemoveTagKeys>Key"`
}

type xmlHealthCheck struct {
	ID                 string `xml:"Id"`
	CallerReference    string
	HealthCheckConfig  xmlAny
	HealthCheckVersion int
}

type createHealthCheckRequest struct {
	XMLName           xml.Name `xml:"CreateHealthCheckRequest"`
	CallerReference   string
	HealthCheckConfig *xmlHealthConfig
}

// xmlHealthConfig keeps the configuration as it came, to be returned as it is.
type xmlHealthConfig struct {
	Type  string
	Inner string `xml:",innerxml"`
}

type healthCheckResponse struct {
	XMLName     xml.Name
	HealthCheck xmlHealthCheck
}

type listHealthChecksResponse struct {
	XMLName      xml.Name `xml:"ListHealthChecksResponse"`
	HealthChecks xmlHealthChecks
	Marker       string
	IsTruncated  bool
	NextMarker   string `xml:",omitempty"`
	MaxItems     int
}

type xmlHealthChecks struct {
	HealthCheck []xmlHealthCheck
}

type healthStatusResponse struct {
	XMLName                 xml.Name         `xml:"GetHealthCheckStatusResponse"`
	HealthCheckObservations []xmlObservation `xml:"HealthCheckObservations>HealthCheckObservation"`
}

type xmlObservation struct {
	Region       string
	IPAddress    string
	StatusReport xmlStatusReport
}

type xmlStatusReport struct {
	Status      string
	CheckedTime string
}

type emptyResponse struct {
	XMLName xml.Name
}

// xmlTime is ISO 8601 in UTC, as all times of the API.
func xmlTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// apiError is an error reply. Only InvalidChangeBatch has messages, and a shape of its own.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html#API_ChangeResourceRecordSets_Errors
type apiError struct {
	status   int
	code     string
	message  string
	messages []string
}

type xmlError struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

type xmlInvalidBatch struct {
	XMLName   xml.Name `xml:"InvalidChangeBatch"`
	Messages  []string `xml:"Messages>Message"`
	RequestID string   `xml:"RequestId"`
}

func (e *apiError) document(requestID string) any {
	if e.code == "InvalidChangeBatch" {
		return xmlInvalidBatch{XMLName: element("InvalidChangeBatch"), Messages: e.messages, RequestID: requestID}
	}
	sender := "Sender"
	if e.status >= http.StatusInternalServerError {
		sender = "Receiver"
	}
	return xmlError{XMLName: element("ErrorResponse"), Type: sender, Code: e.code, Message: e.message, RequestID: requestID}
}

func element(local string) xml.Name { return xml.Name{Space: namespace, Local: local} }

func invalidInput(message string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: "InvalidInput", message: message}
}

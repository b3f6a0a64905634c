package route53

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"

	"github.com/penstock-dev/penstock/internal/awsenv"
)

// environmentClient is a client that reads its configuration when it is first called, because reading it may take calls of its own.
type environmentClient struct {
	mu     sync.Mutex // guards client
	client *sdk.Client
}

// NewEnvironmentClient returns a client with the credentials, region and endpoint that the AWS SDK finds in the process' environment, files and
// instance. They are read at the first call, within its deadline, and again at the next one after a failure.
// https://docs.aws.amazon.com/sdk-for-go/v2/developer-guide/configure-gosdk.html
func NewEnvironmentClient() API { return &environmentClient{} }

func (e *environmentClient) get(ctx context.Context) (*sdk.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client == nil {
		// Route 53 is global: the region only signs, and an explicit one of the environment wins.
		// https://docs.aws.amazon.com/general/latest/gr/r53.html
		cfg, err := awsenv.Load(ctx, config.WithDefaultRegion("us-east-1"))
		if err != nil {
			return nil, err
		}
		e.client = sdk.NewFromConfig(cfg)
	}
	return e.client, nil
}

// ListHostedZones implements [API].
func (e *environmentClient) ListHostedZones(ctx context.Context, in *sdk.ListHostedZonesInput, opts ...func(*sdk.Options)) (*sdk.ListHostedZonesOutput, error) {
	client, err := e.get(ctx)
	if err != nil {
		return nil, err
	}
	return client.ListHostedZones(ctx, in, opts...) //nolint:wrapcheck // the caller looks into the SDK's errors
}

// ListResourceRecordSets implements [API].
func (e *environmentClient) ListResourceRecordSets(ctx context.Context, in *sdk.ListResourceRecordSetsInput, opts ...func(*sdk.Options)) (*sdk.ListResourceRecordSetsOutput, error) {
	client, err := e.get(ctx)
	if err != nil {
		return nil, err
	}
	return client.ListResourceRecordSets(ctx, in, opts...) //nolint:wrapcheck // the caller looks into the SDK's errors
}

// ChangeResourceRecordSets implements [API].
func (e *environmentClient) ChangeResourceRecordSets(ctx context.Context, in *sdk.ChangeResourceRecordSetsInput, opts ...func(*sdk.Options)) (*sdk.ChangeResourceRecordSetsOutput, error) {
	client, err := e.get(ctx)
	if err != nil {
		return nil, err
	}
	return client.ChangeResourceRecordSets(ctx, in, opts...) //nolint:wrapcheck // the caller looks into the SDK's errors
}

// GetChange implements [API].
func (e *environmentClient) GetChange(ctx context.Context, in *sdk.GetChangeInput, opts ...func(*sdk.Options)) (*sdk.GetChangeOutput, error) {
	client, err := e.get(ctx)
	if err != nil {
		return nil, err
	}
	return client.GetChange(ctx, in, opts...) //nolint:wrapcheck // the caller looks into the SDK's errors
}

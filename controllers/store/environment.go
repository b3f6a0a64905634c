package store

import (
	"context"
	"errors"
	"sync"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/penstock-dev/penstock/internal/awsenv"
)

// errNoRegion says that nothing tells where the table is.
var errNoRegion = errors.New("no region for DynamoDB: set --aws-region or AWS_REGION")

// environmentClient is a client that reads its configuration when it is first called, because reading it may take calls of its own.
type environmentClient struct {
	region string

	mu     sync.Mutex // guards client
	client *dynamodb.Client
}

// NewEnvironmentClient returns a client with the credentials and the endpoint (AWS_ENDPOINT_URL_DYNAMODB) that the AWS SDK finds in the process'
// environment, files and instance. The region is the one of the table; an empty one is that of the environment. They are read at the first call,
// within its deadline, and again at the next one after a failure.
// https://docs.aws.amazon.com/sdk-for-go/v2/developer-guide/configure-gosdk.html
func NewEnvironmentClient(region string) DynamoDBAPI { return &environmentClient{region: region} }

func (e *environmentClient) get(ctx context.Context) (*dynamodb.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client == nil {
		var opts []func(*config.LoadOptions) error
		if e.region != "" {
			opts = append(opts, config.WithRegion(e.region))
		}
		cfg, err := awsenv.Load(ctx, opts...)
		if err != nil {
			return nil, err
		}
		if cfg.Region == "" {
			return nil, errNoRegion
		}
		e.client = dynamodb.NewFromConfig(cfg)
	}
	return e.client, nil
}

// GetItem implements [DynamoDBAPI].
func (e *environmentClient) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	client, err := e.get(ctx)
	if err != nil {
		return nil, err
	}
	return client.GetItem(ctx, in, opts...) //nolint:wrapcheck // the caller looks into the SDK's errors
}

// UpdateItem implements [DynamoDBAPI].
func (e *environmentClient) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	client, err := e.get(ctx)
	if err != nil {
		return nil, err
	}
	return client.UpdateItem(ctx, in, opts...) //nolint:wrapcheck // the caller looks into the SDK's errors
}

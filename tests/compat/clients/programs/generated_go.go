package main

import (
	"context"
	"fmt"
	"os"

	"broker"
)

func main() {
	configuration := broker.NewConfiguration()
	configuration.Servers = broker.ServerConfigurations{{URL: os.Args[1]}}
	client := broker.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), broker.ContextAccessToken, os.Args[2])
	request := broker.NewSignalRequest(os.Args[3])
	request.Payload = map[string]any{"order": 7}
	signal, _, err := client.SignalsAPI.ThrowSignal(ctx).SignalRequest(*request).Execute()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(signal.Id)
}

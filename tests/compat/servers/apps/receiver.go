// A receiver on Go's own server. It ends when it is told to, once what is under way is answered.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	notes, err := os.OpenFile(os.Getenv("NOTES"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		if len(body) > 0 {
			var signal struct{ Attempt int }
			if json.Unmarshal(body, &signal) != nil {
				panic("no signal")
			}
			fmt.Fprintf(notes, "%s %d\n", request.Header.Get("webhook-id"), signal.Attempt)
			time.Sleep(time.Duration(rand.Intn(10_000)) * time.Microsecond)
		}
		io.WriteString(answer, "ok")
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Args[1]}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		<-told
		server.Shutdown(context.Background())
		close(ended)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		panic(err)
	}
	<-ended
}

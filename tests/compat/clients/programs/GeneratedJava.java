import broker.ApiClient;
import broker.api.SignalsApi;
import broker.model.SignalRequest;
import java.util.Map;

public class GeneratedJava {
    public static void main(String[] arguments) throws Exception {
        ApiClient client = new ApiClient();
        client.setBasePath(arguments[0]);
        client.setBearerToken(arguments[1]);
        SignalRequest request = new SignalRequest().name(arguments[2]).payload(Map.of("order", 7));
        System.out.println(new SignalsApi(client).throwSignal(request, null, null, null, null).getId());
    }
}

// A Trino of one coordinator and one worker in this process, for the test: its properties as they stand in etc/.
//
//     java -cp "$(cat classpath)" Server.java config.properties streamgauge.properties
//
// Prints where it listens, and ends with its standard input.

import static io.trino.testing.TestingSession.testSessionBuilder;

import io.trino.plugin.hive.HivePlugin;
import io.trino.testing.DistributedQueryRunner;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;

final class Server {
    private Server() {}

    public static void main(String[] files) throws Exception {
        Map<String, String> config = read(files[0]);
        Map<String, String> catalog = read(files[1]);
        String connector = catalog.remove("connector.name");
        try (DistributedQueryRunner trino = DistributedQueryRunner.builder(testSessionBuilder().build())
                .setWorkerCount(1)
                .setExtraProperties(config)
                .build()) {
            trino.installPlugin(new HivePlugin());
            trino.createCatalog("streamgauge", connector, catalog);
            // System.out is Trino's log by now.
            try (PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out))) {
                out.println("listening on " + trino.getCoordinator().getBaseUrl());
            }
            System.in.readAllBytes();
        }
        // Some of its threads would keep the process.
        System.exit(0);
    }

    private static Map<String, String> read(String file) throws Exception {
        Properties properties = new Properties();
        try (Reader reader = Files.newBufferedReader(Path.of(file))) {
            properties.load(reader);
        }
        Map<String, String> made = new HashMap<>();
        properties.forEach((name, value) -> made.put((String) name, (String) value));
        return made;
    }
}

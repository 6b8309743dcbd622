import type { NestExpressApplication } from '@nestjs/platform-express';
import { WsAdapter } from '@nestjs/platform-ws';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';

/** What the app needs beside its modules, before it listens. */
export function setUp(app: NestExpressApplication): void {
  // How many proxies stand in front: the client's address is what the outermost of them has seen. Never `true`.
  app.set('trust proxy', Number(process.env.TRUST_PROXY ?? 0));
  app.useWebSocketAdapter(new WsAdapter(app));
  const description = new DocumentBuilder().setTitle('The sample app of nest-rate-limit').build();
  SwaggerModule.setup('openapi', app, () => SwaggerModule.createDocument(app, description), {
    ui: false,
    raw: ['json'],
    jsonDocumentUrl: 'openapi.json',
  });
}
